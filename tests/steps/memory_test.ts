import { deepEqual, equal, ok } from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import * as d from "../../mod.ts";
import { Meter } from "./meter.ts";
import { copyPictures, inNewFolder, runRecorded, smallData } from "./small_training.ts";

Deno.test("describe() says how many bytes caching and training take on the device, with short batches, micro-batches and a frozen network", () =>
  inNewFolder(async (folder) => {
    const meter = new Meter(), training = { rank: 4, epochs: 1, learningRate: 1e-3 };
    // Five pictures in batches of two, against one of three: pairs of 2 and 2, 2 and 1, 1 and 2; steps of two micro-batches, and one of one.
    const character = await copyPictures(d.toy.character, join(folder, "character"), 5);
    const outfit = await copyPictures(d.toy.outfit, join(folder, "outfit"), 3);
    const recipe = d.pipeline("measured")
      .use(d.loadBases({ network1: "toy" }))
      .use(d.readDreambooth({
        network1: { train: character },
        network2: { train: outfit },
        resolution: 64,
        batchSize: 2,
      }))
      .use(meter.step)
      .use(d.cacheLatents({ batchSize: 4 }))
      .use(d.pretrainNetwork1(training))
      .use(d.freezeNetwork1({ mode: "full" }))
      .use(d.trainNetwork2({ ...training, accumulationSteps: 2, gradientCheckpointing: true }));
    const { steps } = await recipe.describe();
    await recipe.run({ folder: join(folder, "run"), onEvent: meter.onEvent });
    for (const name of ["cache latents", "pretrain network 1", "train network 2"]) {
      const planned = steps.find((step) => step.name === name)!.figures.peakGpuBytes;
      equal(meter.peaks.get(name), planned, name);
    }
    ok(meter.peaks.get("train network 2")! > 4 * 4_071_588, "the base's weights count as well");
  }));

Deno.test("describe() says how many bytes training takes while it makes pictures, of two sizes and of a long prompt", () =>
  inNewFolder(async (folder) => {
    const meter = new Meter(), prompts = join(folder, "prompts.txt"), long = "a red hat, ".repeat(30);
    await writeFile(prompts, `a person --w 64 --h 64 --s 1\n${long}--w 72 --h 64 --s 1\n`);
    const recipe = d.pipeline("pictured")
      .use(d.loadBases({ network1: "toy" }))
      .use(d.readDreambooth({ ...await smallData(folder), resolution: 64, batchSize: 1 }))
      .use(meter.step)
      .use(d.cacheLatents())
      .use(d.trainBoth({
        ...{ rank: 4, steps: 1, learningRate: 1e-3, parts: ["unet"] },
        samples: { folder, prompts, everySteps: 1 },
      }));
    const { steps } = await recipe.describe(), { figures, lines } = steps.find(({ name }) => name.startsWith("train"))!;
    await recipe.run({ folder: join(folder, "run"), onEvent: meter.onEvent });
    equal(meter.peaks.get("train both networks"), figures.peakGpuBytes);
    ok(lines.some((line) => /^making these pictures takes \d+\.\d MiB of the memory$/.test(line)), lines.join("\n"));
  }));

Deno.test("describe() counts the VAE that stays on the device where pictures are encoded in every step", () =>
  inNewFolder(async (folder) => {
    const meter = new Meter(), { network1: { train } } = await smallData(folder);
    const recipe = d.pipeline("encoding")
      .use(d.loadBases({ network1: "toy" }))
      .use(d.readDatasets({ network1: [{ trainDataDir: train, resolution: 64, randomCrop: true }] }))
      .use(meter.step)
      .use(d.encodeLatents())
      .use(d.pretrainNetwork1({ rank: 4, steps: 2, learningRate: 1e-3 }));
    const { steps } = await recipe.describe();
    await recipe.run({ folder: join(folder, "run"), onEvent: meter.onEvent });
    const planned = steps.find(({ name }) => name === "pretrain network 1")!.figures.peakGpuBytes;
    equal(meter.peaks.get("pretrain network 1"), planned);
  }));

Deno.test("describe() says how many bytes sampling takes on the device, with stacks of networks that take turns, and a long prompt with weights", () =>
  inNewFolder(async (folder) => {
    const long = `({row}:1.2)${", a red hat".repeat(30)}`;
    const meter = new Meter(), { network1, network2 } = d.things, training = { rank: 4, steps: 1, learningRate: 1e-3 };
    const recipe = d.pipeline("sampled")
      .use(d.loadBases({ network1: "toy" }))
      .use(d.readDreambooth({ ...await smallData(folder), resolution: 64, batchSize: 1 }))
      .use(d.cacheLatents())
      .use(d.trainBoth({ ...training, parts: ["unet"] }))
      .use(meter.step)
      .use(d.sample({
        networks: { network1, network2 },
        columns: [
          { name: "one", prompt: "{row}", networks: ["network1"] },
          { name: "two", prompt: "{row}", networks: ["network2"], multiplier: 0.5 },
          { name: "both", prompt: long, networks: ["network1", "network2"] },
        ],
        rows: Array.from({ length: 9 }, (_, seed) => ({ text: "a person", seed })),
        width: 128,
        height: 128,
        steps: 1,
        baselines: true,
      }));
    const { steps } = await recipe.describe();
    await recipe.run({ folder: join(folder, "run"), onEvent: meter.onEvent });
    const planned = steps.find((step) => step.name === "sample")!.figures.peakGpuBytes;
    equal(meter.peaks.get("sample"), planned);
  }));

Deno.test("a step that the adapter cannot hold fails before the first one runs: scope, op, tensor, bytes and limit", () =>
  inNewFolder(async (folder) => {
    const recipe = d.pipeline("too large")
      .use(d.loadBases({ network1: "toy" }))
      .use(d.readDreambooth({ ...await smallData(folder), resolution: 128, batchSize: 2 }))
      .use(d.cacheLatents())
      .use(d.trainBoth({ rank: 4, steps: 1 }));
    const { requestAdapter } = navigator.gpu, limits = { maxStorageBufferBindingSize: 2 ** 18, maxBufferSize: 2 ** 20 };
    const card = { info: { description: "a card" }, limits, features: new Set<string>() };
    navigator.gpu.requestAdapter = () => Promise.resolve(card as unknown as GPUAdapter);
    try {
      const { error, ran, events } = await runRecorded(recipe, { folder: join(folder, "run") });
      deepEqual(ran, []);
      deepEqual(events.flatMap((event) => event.type === "step-failed" ? [event.step] : []), ["train both networks"]);
      ok(error instanceof RangeError);
      // Two pictures of 16×16 tokens, widened to eight times 32 channels, 4 bytes each.
      equal(
        error.message,
        "Cannot run matmul_pair in network_1.unet.down_blocks.0.attentions.0.transformer_blocks.0.ff.net.0.proj: its result, " +
          `f32 [512, 256], takes ${2 * 16 * 16 * 8 * 32 * 4} bytes, a card binds at most 262144. ` +
          "Use a smaller batch, smaller pictures or 16-bit activations",
      );
    } finally {
      navigator.gpu.requestAdapter = requestAdapter;
    }
  }));

Deno.test("describe() says how many bytes encoding pictures takes, and training a UNet whose captions are encoded beforehand", () =>
  inNewFolder(async (folder) => {
    const meter = new Meter(), train = await copyPictures(d.toy.character, join(folder, "character"), 3);
    const recipe = d.pipeline("measured")
      .use(d.loadBases({ network1: "toy" }))
      .use(d.readDreambooth({ network1: { train }, resolution: 64, batchSize: 1 }))
      .use(meter.step)
      .use(d.cacheLatents({ batchSize: 2 }))
      .use(d.pretrainNetwork1({ rank: 4, steps: 3, parts: ["unet"] }));
    const { steps } = await recipe.describe();
    await recipe.run({ folder: join(folder, "run"), onEvent: meter.onEvent });
    const described = (name: string) => steps.find((step) => step.name === name)!;
    for (const name of ["cache latents", "pretrain network 1"]) {
      equal(meter.peaks.get(name), described(name).figures.peakGpuBytes, name);
    }
    ok(
      described("pretrain network 1").lines.includes(
        "the text encoder reads 3 captions of network 1 once, before training",
      ),
    );
  }));
