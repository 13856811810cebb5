import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import { readdir, readFile, truncate } from "node:fs/promises";
import { join } from "node:path";
import { encodeFloat32 } from "../../formats/element_types.ts";
import { writeLora } from "../../formats/lora_file.ts";
import { writeSafetensors } from "../../formats/safetensors.ts";
import * as d from "../../mod.ts";
import { convertLora } from "../../steps/lora_tools/convert.ts";
import { mergeLoras, mergeLorasIntoBase } from "../../steps/lora_tools/merge.ts";
import { resizeLora } from "../../steps/lora_tools/resize.ts";
import { SavingOutput } from "../../steps/outputs/saving.ts";
import type { StateFacts } from "../../steps/outputs/state_facts.ts";
import { writeState } from "../../steps/outputs/state_folder.ts";
import { saveNetwork } from "../../steps/values/network.ts";
import { inNewFolder, runRecorded, smallData } from "./small_training.ts";

Deno.test("a training whose losses explode ends, and keeps the state from before in its output folder; with a lower rate it goes on", () =>
  inNewFolder(async (folder) => {
    const data = await smallData(folder), out = join(folder, "out");
    const recipe = (training: Partial<Parameters<typeof d.pretrainNetwork1>[0]>) =>
      d.pipeline("exploding")
        .use(d.loadBases({ network1: "toy" }))
        .use(d.readDreambooth({ network1: data.network1, resolution: 64, batchSize: 1 }))
        .use(d.cacheLatents())
        .use(
          d.pretrainNetwork1({
            rank: 2,
            parts: ["unet"],
            learningRate: 1e-4,
            seed: 2,
            maxSkippedInRow: 3,
            ...training,
          }),
        );
    const save = { folder: out, names: { network1: "mine" }, state: true };
    equal((await runRecorded(recipe({ steps: 4, save }), { folder: join(folder, "first") })).error, null);
    // There are more bad steps than checkpoints are kept.
    // Noise a thousand times as strong is to be predicted: what the network says is a million times as wrong.
    const exploding = { steps: 14, noiseOffset: 1000, resume: join(out, "mine-state"), checkpointEvery: 1 };
    const { error } = await runRecorded(recipe({ ...exploding, save }), { folder: join(folder, "run") });
    ok(error instanceof d.DivergedError, `${error}`);
    match(
      error.message,
      /^Training diverged in step \d+: mse_1 is .*, and was above 100 in 3 steps in a row; to predict nothing /,
    );
    match(
      error.message,
      /\. Try a lower learning rate, more warm-up steps or a lower maxGradNorm, .*\. The state after step 4 /,
    );
    match(error.message, /is kept in \S+mine-before-divergence-state: resume goes on from it$/);
    deepEqual((await readdir(out)).sort(), ["mine-before-divergence-state", "mine-state"]);
    const kept = join(out, "mine-before-divergence-state");
    deepEqual(
      await readFile(join(kept, "state.safetensors")),
      await readFile(join(out, "mine-state", "state.safetensors")),
    );
    const again = await runRecorded(recipe({ steps: 6, resume: kept }), { folder: join(folder, "again") });
    equal(again.error, null);
    // A rate at which the first step makes weights with which nothing can be computed.
    const burnt = { steps: 9, learningRate: 1e30, checkpointEvery: 1 };
    const { error: last } = await runRecorded(recipe(burnt), { folder: join(folder, "run") });
    const work = join(folder, "run", "steps", "04-pretrain-network-1", "work");
    match(`${last}`, /^DivergedError: Training diverged in step 4: loss_1 is /);
    ok(
      `${last}`.endsWith(
        `The state after step 1 is ${
          join(work, "checkpoint-00000001")
        }: copy it elsewhere, and resume goes on from the copy`,
      ),
      `${last}`,
    );
    deepEqual(await readdir(work), ["checkpoint-00000001"]);
  }));

Deno.test("a training that diverges before a checkpoint names the newest state that it has saved itself before that", () =>
  inNewFolder(async (folder) => {
    const facts: StateFacts = { networks: [], settings: { learningRate: 1 } };
    const write = (name: string, step: number, owner = facts) =>
      writeState(join(folder, name), {
        content: {
          state: { step, skipped: { total: 0, inRow: 0 }, networks: [{ weights: new Float32Array(2), optimizer: {} }] },
          log: [],
        },
        facts: owner,
      });
    const output = await SavingOutput.open({ folder }, { epochs: 1, facts } as never);
    equal(await output.saved(9), null);
    await write("at-step00000002-state", 2);
    await write("at-step00000004-state", 4);
    await write("at-step00000006-state", 6);
    await write("their-state", 5, { networks: [], settings: {} });
    deepEqual(await output.saved(5), { path: join(folder, "at-step00000004-state"), step: 4 });
    await truncate(join(folder, "at-step00000004-state", "state.safetensors"), 5);
    deepEqual(await output.saved(5), { path: join(folder, "at-step00000002-state"), step: 2 });
    equal(await output.saved(1), null);
  }));

Deno.test("no writer of weights lets NaN or infinity into a file, nor makes it by rounding", () =>
  inNewFolder(async (folder) => {
    const path = (name: string) => join(folder, name), values = (...numbers: number[]) => Float32Array.from(numbers);
    const module = (bad: number) => ({
      name: "lora_unet_down_blocks_0_attentions_0_proj_in",
      alpha: 1,
      down: { shape: [1, 32, 1, 1], values: new Float32Array(32).fill(1) },
      up: { shape: [32, 1, 1, 1], values: new Float32Array(32).fill(bad) },
    });
    // Files that were broken elsewhere.
    const broken = async (name: string, bad: number) => {
      const { name: key, alpha, down, up } = module(bad);
      const tensor = (ending: string, shape: readonly number[], numbers: Float32Array<ArrayBuffer>) => ({
        ...{ name: `${key}.${ending}`, type: "F32" as const, shape },
        bytes: encodeFloat32(numbers, "F32"),
      });
      await writeSafetensors(path(name), [
        tensor("alpha", [], values(alpha)),
        tensor("lora_down.weight", down.shape, down.values),
        tensor("lora_up.weight", up.shape, up.values),
      ]);
      return path(name);
    };
    const nan = await broken("nan.safetensors", NaN), large = await broken("large.safetensors", 1e5);
    const state = (m: Float32Array) => ({
      content: {
        state: { step: 1, skipped: { total: 0, inRow: 0 }, networks: [{ weights: values(1), optimizer: { m } }] },
        log: [],
      },
      facts: { networks: [], settings: {} },
    });
    const before = (await readdir(folder)).sort();
    const fp16 = { precision: "fp16" } as const, output = path("out.safetensors");
    const cases: [() => Promise<unknown>, RegExp][] = [
      [() => writeLora(output, [module(NaN)]), /proj_in\.lora_up\.weight: number 0 is NaN, must be finite/],
      [
        () => writeLora(output, [module(1e5)], fp16),
        /number 0 is 100000, beyond what F16 can hold; save it as float or bf16/,
      ],
      [() => writeLora(output, [{ ...module(1), alpha: Infinity }]), /\.alpha: number 0 is Infinity/],
      [() => mergeLoras([{ file: nan, ratio: 1 }], output, {}), /NaN/],
      [() => mergeLoras([{ file: large, ratio: 1 }], output, fp16), /beyond what F16 can hold/],
      [() => mergeLorasIntoBase("toy", [{ file: nan, ratio: 1 }], path("base")), /is NaN, must be finite/],
      [() => mergeLorasIntoBase("toy", [{ file: large, ratio: 1 }], path("base"), fp16), /beyond what F16 can hold/],
      [() => resizeLora(nan, output, { rank: 1, precision: "float" }), /holds NaN/],
      [() => convertLora(nan, output, {}), /proj_in\.lora\.up\.weight holds NaN|holds NaN or infinite numbers/],
      [() => writeState(path("a-state"), state(values(NaN))), /optimizer\.m holds NaN or infinity/],
      [() => writeState(path("a-state"), state(values(-Infinity))), /optimizer\.m holds NaN or infinity/],
      [() => saveNetwork({ options: { rank: 1 }, weights: values(NaN), log: [], settings: {} }, path("kept")), /NaN/],
    ];
    for (const [written, message] of cases) await rejects(written(), message);
    deepEqual((await readdir(folder)).sort(), before);
  }));
