import { deepEqual, equal } from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import * as d from "../../mod.ts";
import { outputLines } from "../../steps/outputs/open_outputs.ts";
import { copyPictures, inNewFolder } from "./small_training.ts";

/**
 * Numbers in networks over the toy, from its checkpoint alone: kohya's modules are the text encoder's linear layers and all layers inside of the
 * UNet's attention blocks, norms aside; each has rank · (inputs + outputs).
 */
async function countParameters(rank: number): Promise<{ text_encoder: number; unet: number }> {
  const found = { text_encoder: 0, unet: 0 };
  for (const [part, file] of [["text_encoder", "model"], ["unet", "diffusion_pytorch_model"]] as const) {
    const bytes = await readFile(join(d.toy.base, part, `${file}.safetensors`));
    const header = JSON.parse(bytes.toString("utf8", 8, 8 + Number(bytes.readBigUInt64LE(0))));
    for (const [name, { shape }] of Object.entries<{ shape: number[] }>(header)) {
      const isIn = part === "unet" ? name.includes(".attentions.") : /\.(self_attn|mlp)\./.test(name);
      if (isIn && name.endsWith(".weight") && shape.length > 1) found[part] += rank * (shape[0] + shape[1]);
    }
  }
  return found;
}

Deno.test("describe() asks for no GPU, and its figures are those of the data and the base", () =>
  inNewFolder(async (folder) => {
    const { requestAdapter } = navigator.gpu;
    navigator.gpu.requestAdapter = () => {
      throw new Error("describe() asked for an adapter");
    };
    try {
      const train = await copyPictures(d.toy.character, join(folder, "character"), 5);
      const network2 = { train: await copyPictures(d.toy.outfit, join(folder, "outfit"), 3) };
      const recipe = d.pipeline("planned")
        .use(d.loadBases({ network1: "toy" }))
        .use(d.readDreambooth({ network1: { train }, network2, resolution: 64, batchSize: 2, batchSize2: 1 }))
        .use(d.loadPriors({ network1: d.toy.priors }))
        .use(d.cacheLatents())
        .use(d.pretrainNetwork1({ rank: 3, epochs: 3, accumulationSteps: 2 }))
        .use(d.freezeNetwork1({ mode: "semi", annealEpoch: 1 }))
        .use(d.trainNetwork2({ rank: 6, steps: 7, parts: ["unet"] }));
      const { steps } = await recipe.describe();
      const figures = (name: string) => steps.find((step) => step.name === name)!.figures;
      deepEqual(steps.filter(({ unplanned }) => unplanned !== undefined), []);

      // 5 pictures and 5 of the 48 priors in batches of 2; 3 pictures in batches of 1.
      deepEqual(figures("load priors"), { batchesPerEpoch1: 5, batchesPerEpoch2: 3 });
      equal(figures("cache latents").picturesToEncode, 5 + 5 + 3);

      // By hand for the text encoder: in each of 12 layers four of 48 → 48, and 48 → 192 → 48.
      const { text_encoder, unet } = await countParameters(3);
      equal(text_encoder, 12 * 3 * (4 * (48 + 48) + 2 * (48 + 192)));
      const { peakGpuBytes: peak1, ...pretraining } = figures("pretrain network 1");
      deepEqual(pretraining, { stepsPerEpoch: 3, epochs: 3, totalSteps: 9, parametersTrained: text_encoder + unet });
      const { peakGpuBytes: peak2, ...training } = figures("train network 2");
      // 7 steps of 5 batches are two epochs; network 1 trains in the second.
      deepEqual(training, { stepsPerEpoch: 5, epochs: 2, totalSteps: 7, parametersTrained: text_encoder + 3 * unet });

      // Frozen weights alone are 4 bytes each; what a step needs beside them is far below a gigabyte.
      for (const peak of [peak1, peak2]) equal(peak > 4 * 4_071_588 && peak < 2 ** 30, true, `${peak}`);
    } finally {
      navigator.gpu.requestAdapter = requestAdapter;
    }
  }));

Deno.test("describe() says which of an optimizer's arguments have no effect, and what is otherwise than its name says", () =>
  inNewFolder(async (folder) => {
    const trainDataDir = await copyPictures(d.toy.character, join(folder, "character"), 1);
    const data = [{ trainDataDir, resolution: 64 }];
    const { steps } = await d.pipeline("notes")
      .use(d.loadBases({ network1: "toy" }))
      .use(d.readDatasets({ network1: data, network2: data }))
      .use(d.cacheLatents())
      .use(d.trainBoth({
        ...{ rank: 1, parts: ["text_encoder"], steps: 1 },
        optimizerArguments: { weight_decay: 0.1, fused: true, foreach: null },
        network2: { optimizer: "pagedadamw8bit", optimizerArguments: { optim_bits: 8 } },
      }))
      .describe();
    deepEqual(steps.at(-1)!.lines.filter((line) => line.startsWith("network 1: ") || line.startsWith("network 2: ")), [
      "network 1: AdamW's argument fused has no effect: it is about how its own package computes, not what",
      "network 1: AdamW's argument foreach has no effect: it is about how its own package computes, not what",
      "network 2: PagedAdamW8bit computes what AdamW8bit does; its state stays on the GPU, as WebGPU pages none",
      "network 2: PagedAdamW8bit's argument optim_bits has no effect: it is about how its own package computes, not what",
    ]);
  }));

Deno.test("describe() shows of data sets what they were given, paths left out", async () => {
  const folders = { trainDataDir: d.toy.character, resolution: 64 };
  const subset = { imageDir: join(d.toy.character, "10_sks person"), numRepeats: 2 };
  const optionsOf = async (...network1: d.ReadDatasetsOptions["network1"]) =>
    (await d.pipeline("data").use(d.readDatasets({ network1 })).describe()).steps[0].options;
  deepEqual(await optionsOf(folders), { network1: [{ resolution: 64 }] });
  deepEqual(await optionsOf({ resolution: 64, subsets: [subset] }), {
    network1: [{ resolution: 64, subsets: [{ numRepeats: 2 }] }],
  });
});

Deno.test("describe() says what a training leaves behind, and when", () => {
  const folder = "out", prompts = "prompts.txt";
  const cases: [Parameters<typeof outputLines>[0], string[]][] = [
    [{}, []],
    [{ save: { folder } }, []],
    [{ save: { folder, everyEpochs: 1 } }, ["saves into out after every epoch"]],
    [{ save: { folder, everyEpochs: 2, everySteps: 50, state: true } }, [
      "saves into out after every 2 epochs and every 50 steps, with states, and one at the end",
    ]],
    // Ten epochs, three times at least: after every third.
    [{ save: { folder, timesPerRun: 3 } }, ["saves into out after every 3 epochs"]],
    // The tenth epoch's end is the run's: it is saved anyway.
    [{ save: { folder, everyEpochs: 10, everySteps: 101 } }, [
      "saves into out after every 10 epochs (not reached before the end of this run) and every 101 steps (not reached before the end of this run)",
    ]],
    [{ samples: { folder, prompts, everySteps: 500 } }, [
      "makes pictures of prompts.txt after every 500 steps (not reached before the end of this run), in out/sample",
    ]],
    [{ samples: { folder, prompts, everyEpochs: 10 } }, [
      "makes pictures of prompts.txt after every 10 epochs, in out/sample",
    ]],
    [{ resume: "state", logs: { folder: "logs" }, samples: { folder, prompts, everyEpochs: 2, everySteps: 5 } }, [
      "goes on from the state state",
      "makes pictures of prompts.txt after every 2 epochs, in out/sample",
      "logs into logs",
    ]],
  ];
  for (const [options, lines] of cases) deepEqual(outputLines(options, { epochs: 10, totalSteps: 100 }), lines);
});
