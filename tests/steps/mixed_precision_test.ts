import { deepEqual, equal, match, ok, throws } from "node:assert/strict";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { adapterLimits } from "../../engine/mod.ts";
import { SafetensorsFile } from "../../formats/safetensors.ts";
import type { BaseModelOptions } from "../../models/base_model.ts";
import * as d from "../../mod.ts";
import { compareState } from "../../steps/outputs/state_facts.ts";
import { openBases } from "../../steps/values/bases.ts";
import { stateFacts } from "../../steps/values/network_training.ts";
import { planPictures } from "../../steps/values/picture_memory.ts";
import { inNewFolder, runRecorded, smallData } from "./small_training.ts";

type Precision = NonNullable<d.LoadBasesOptions["mixedPrecision"]>;

/** What a caller without types passes. */
// deno-lint-ignore no-explicit-any
const untyped = (options: unknown) => options as any;

Deno.test("mixedPrecision halves the bases, makes a training's peak smaller, and moves its losses by rounding errors", () =>
  inNewFolder(async (folder) => {
    const data = await smallData(folder);
    const recipe = (bases: Precision, activations?: Precision) =>
      d.pipeline("precision")
        .use(d.loadBases({ network1: "toy", mixedPrecision: bases }))
        .use(d.readDreambooth({ ...data, resolution: 64, batchSize: 1 }))
        .use(d.cacheLatents({ folder: join(folder, "latents") }))
        .use(d.trainBoth({
          rank: 4,
          steps: 3,
          learningRate: 1e-3,
          ...activations ? { mixedPrecision: activations } : {},
        }));
    const figures = async (bases: Precision, activations?: Precision) => {
      const { steps } = await recipe(bases, activations).describe(), [loading, , , training] = steps;
      return { baseBytes: Number(loading.figures.baseBytes), peak: Number(training.figures.peakGpuBytes) };
    };
    const whole = await figures("no");
    for (const half of ["fp16", "bf16"] as const) {
      const found = await figures(half), weightsAlone = await figures(half, "no");
      equal(found.baseBytes, whole.baseBytes / 2);
      equal(weightsAlone.baseBytes, found.baseBytes);
      // Left out, activations are stored as the bases are; both parts of it count.
      ok(found.peak < weightsAlone.peak - 1e6 && weightsAlone.peak < whole.peak - found.baseBytes / 2, `${found.peak}`);
    }

    const train = async (precision: Precision) => {
      const run = join(folder, precision),
        { values } = await recipe(precision).run({ folder: run, keep: ["network2"] });
      const { log, weights } = values.network2;
      ok(weights.every(Number.isFinite));
      return log.map(({ values }) => values);
    };
    const expected = await train("no"), [step1] = expected;
    for (const [half, limit] of [["fp16", 2e-3], ["bf16", 2e-2]] as const) {
      const found = await train(half);
      for (const [i, { loss_2, norm_2, orth_te }] of found.entries()) {
        ok(Math.abs(loss_2 - expected[i].loss_2) <= limit * expected[i].loss_2, `${half}, step ${i + 1}: ${loss_2}`);
        ok(
          Math.abs(norm_2 - expected[i].norm_2) <= 10 * limit * expected[i].norm_2,
          `${half}, step ${i + 1}: ${norm_2}`,
        );
        // Up weights begin at zero; after one step the hidden layers are there, however small.
        equal(orth_te > 0, i > 0);
      }
      // What is rounded is not the same number: else nothing was stored in 16 bits.
      ok(found[0].loss_2 !== step1.loss_2);
    }
    // The VAE's latents are f32 whatever the bases are: all runs share one entry a picture.
    equal((await readdir(join(folder, "latents"))).length, 4);
  }));

Deno.test("frozenWeights int8 makes the bases smaller than 16 bits do, and moves a training's losses a little", () =>
  inNewFolder(async (folder) => {
    const data = await smallData(folder);
    const recipe = (options: Omit<d.LoadBasesOptions, "network1">) =>
      d.pipeline("eight bits")
        .use(d.loadBases({ network1: "toy", ...options }))
        .use(d.readDreambooth({ ...data, resolution: 64, batchSize: 1 }))
        .use(d.cacheLatents({ folder: join(folder, "latents") }))
        .use(d.trainBoth({ rank: 4, steps: 3, learningRate: 1e-3 }));
    const bytes = async (options: Omit<d.LoadBasesOptions, "network1">) =>
      Number((await recipe(options).describe()).steps[0].figures.baseBytes);
    ok(await bytes({ frozenWeights: "int8", mixedPrecision: "fp16" }) < 0.62 * await bytes({ mixedPrecision: "fp16" }));
    const train = async (name: string, options: Omit<d.LoadBasesOptions, "network1">) => {
      const { values } = await recipe(options).run({ folder: join(folder, name), keep: ["network2"] });
      return values.network2.log.map(({ values }) => values);
    };
    const expected = await train("whole", {}), found = await train("int8", { frozenWeights: "int8" });
    for (const [i, { loss_2, norm_2 }] of found.entries()) {
      ok(Math.abs(loss_2 - expected[i].loss_2) <= 5e-3 * expected[i].loss_2, `step ${i + 1}: loss ${loss_2}`);
      ok(Math.abs(norm_2 - expected[i].norm_2) <= 2e-2 * expected[i].norm_2, `step ${i + 1}: norm ${norm_2}`);
    }
    // What is rounded is not the same number: else nothing was stored in 8 bits.
    ok(found[0].loss_2 !== expected[0].loss_2);
  }));

Deno.test("f16Arithmetic samples pictures with f16 activations, and is refused before anything runs where it is of no use", () =>
  inNewFolder(async (folder) => {
    const bases = { mixedPrecision: "fp16", f16Arithmetic: true } as const;
    const formats = async (options: BaseModelOptions) => {
      const batch = { stack: [], layout: { tokenRows: 1 } }, size = { width: 128, height: 128 };
      const { programs } = planPictures(await openBases({ network1: "toy" }, options), size, [batch], 1);
      return programs.flatMap(({ steps }) => steps).flatMap((step) =>
        step.kind === "node" && step.node.op.name === "conv2d" ? [[step.node.scope, step.node.outputs[0].dtype]] : []
      );
    };
    for (const [, format] of await formats({ precision: "f16" })) equal(format, "f32");
    const found = await formats({ precision: "f16", f16Arithmetic: true });
    ok(found.length > 20);
    // The prediction goes into sums with the noise.
    for (const [scope, format] of found) equal(format, scope === "unet.conv_out" ? "f32" : "f16", scope);

    const { cpu, f16 } = await adapterLimits(),
      recipe = d.pipeline("pictures").use(d.loadBases({ network1: "toy", ...bases }));
    const { error, events } = await runRecorded(recipe, { folder: join(folder, "run") });
    if (!cpu && f16) return equal(error, null);
    match(error!.message, /Cannot multiply in f16 on /);
    ok(!events.some(({ type }) => type === "progress"));
  }));

Deno.test("a training that goes on with f16Arithmetic from a state without is told so", async () => {
  const facts = async (options: BaseModelOptions) => {
    const bases = await openBases({ network1: "toy" }, options), dataset = { parts: [], images: [] };
    const task = untyped({ networks: [{ number: 1, start: { options: { rank: 4 } } }], options: {}, stack: false });
    return await stateFacts(
      task,
      [untyped({ number: 1, base: bases.network1, lora: { tensors: [] }, dataset })],
      bases,
      null,
    );
  };
  const [state, now] = [await facts({ precision: "f16" }), await facts({ precision: "f16", f16Arithmetic: true })];
  deepEqual(compareState("state", state, now), [
    "going on from state: network1.f16Arithmetic was left out, and is true now; numbers are rounded otherwise from here on",
  ]);
});

Deno.test("cacheLatents() keeps latents of a VAE in 16 bits apart, and they are close to those in f32", () =>
  inNewFolder(async (folder) => {
    const { network1 } = await smallData(folder);
    const means = async (mixedPrecision: Precision) => {
      const cache = join(folder, mixedPrecision);
      const recipe = d.pipeline("latents")
        .use(d.loadBases({ network1: "toy" }))
        .use(d.readDreambooth({ network1, resolution: 64, batchSize: 1 }))
        .use(d.cacheLatents({ folder: cache, mixedPrecision }));
      await recipe.run({ folder: join(folder, `run ${mixedPrecision}`) });
      const files = (await readdir(cache)).sort(), values: number[][] = [];
      for (const file of files) {
        await using opened = await SafetensorsFile.open(join(cache, file));
        values.push([...await opened.float32("mean")]);
      }
      return { files, values: values.sort(([a], [b]) => a - b) };
    };
    const whole = await means("no");
    for (const [half, limit] of [["fp16", 1e-2], ["bf16", 8e-2]] as const) {
      const found = await means(half);
      deepEqual(found.files.filter((file) => whole.files.includes(file)), []);
      equal(found.files.length, whole.files.length);
      for (const [i, mean] of whole.values.entries()) {
        const norm = (values: number[]) => Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));
        const error = norm(found.values[i].map((value, at) => value - mean[at])) / norm(mean);
        ok(error > 0 && error <= limit, `${half}: relative error ${error}`);
      }
    }
  }));

Deno.test("a precision that there is not is refused by name, before anything runs", () => {
  const wrong = untyped("fp8"), wanted = 'mixedPrecision is "fp8", must be one of no, fp16, bf16';
  throws(() => d.loadBases({ network1: "toy", mixedPrecision: wrong }), { message: `Cannot load bases: ${wanted}` });
  throws(() => d.loadBases({ network1: "toy", frozenWeights: wrong }), {
    message: 'Cannot load bases: frozenWeights is "fp8", must be int8 or left out',
  });
  for (const others of [{}, { mixedPrecision: "bf16" }, { mixedPrecision: "fp16", frozenWeights: "int8" }] as const) {
    throws(() => d.loadBases({ network1: "toy", f16Arithmetic: true, ...others }), {
      name: "RangeError",
      message:
        "Cannot load bases: f16Arithmetic is true, must be false unless weights and activations are stored in f16: with mixedPrecision fp16 and without frozenWeights",
    });
  }
  throws(() => d.loadBases({ network1: "toy", f16Arithmetic: wrong }), {
    message: 'Cannot load bases: f16Arithmetic is "fp8", must be true or false',
  });
  throws(() => d.cacheLatents({ mixedPrecision: wrong }), { message: `Cannot cache latents: ${wanted}` });
  throws(() => d.encodeLatents({ mixedPrecision: wrong }), { message: `Cannot encode latents: ${wanted}` });
  throws(() => d.trainBoth({ rank: 4, mixedPrecision: wrong }), { message: `Cannot train: ${wanted}` });
});
