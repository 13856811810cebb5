import { deepEqual, equal, ok, throws } from "node:assert/strict";
import { join } from "node:path";
import { testFolder, testSource } from "../../data/_test_sources.ts";
import { Dataset } from "../../data/dataset.ts";
import type { SubsetOptions } from "../../data/dataset_options.ts";
import { Device, input, plan } from "../../engine/mod.ts";
import { uniformByRule, weightByRule } from "../../formats/weights_by_rule.ts";
import { LoraNetwork, type Part } from "../../lora/network.ts";
import { BaseModel } from "../../models/base_model.ts";
import { Tokenizer } from "../../models/clip/tokenizer.ts";
import { fixedCaptions, TextOutputs } from "../../steps/values/text_outputs.ts";
import { toy } from "../../steps/values/toy.ts";
import type { TrainBatch } from "../../training/feeds.ts";
import { Trainer, type TrainerNetwork, type TrainerState } from "../../training/trainer.ts";
import { planStep } from "../../training/training_program.ts";

const base = await BaseModel.open(toy.base), tokenizer = await Tokenizer.fromFolder(join(toy.base, "tokenizer"));
const run = { signal: new AbortController().signal };
const phase = { network1Trains: true, orthogonalityOn: true };

function trained(...parts: Part[]): TrainerNetwork {
  const layers = { text_encoder: base.textLayers, unet: base.unetLayers };
  const lora = new LoraNetwork("network 1", Object.fromEntries(parts.map((part) => [part, layers[part]])), { rank: 2 });
  return { number: 1, base, lora, settings: { learningRate: 1e-3 } };
}

Deno.test("fixedCaptions() gives the captions that no step changes, the empty one with dropout; otherwise null", () => {
  const found = (options: SubsetOptions, parts: Part[] = ["unet"], maxTokenLength: 75 | 225 = 75) => {
    const sizes = Array.from({ length: 3 }, () => ({ width: 64, height: 64 }));
    const source = testSource([testFolder("a", 1, sizes, options)], { resolution: 64, batchSize: 1 });
    const dataset = new Dataset([source], { name: "network 1", seed: 1 });
    return {
      captions: dataset.images.map(({ caption }) => caption),
      fixed: fixedCaptions({ base, lora: trained(...parts).lora, dataset }, { maxTokenLength }),
    };
  };
  const { captions, fixed } = found({});
  deepEqual(fixed, [...new Set(captions)]);
  deepEqual(found({ keepTokens: 2, flipAug: true }, ["unet"], 225).fixed, fixed);
  for (const options of [{ captionDropoutRate: 0.1 }, { captionDropoutEveryNEpochs: 2 }]) {
    deepEqual(new Set(found(options).fixed), new Set([...captions, ""]), JSON.stringify(options));
  }
  for (const options of [{ shuffleCaption: true }, { captionTagDropoutRate: 0.1 }, { tokenWarmupStep: 5 }]) {
    equal(found(options).fixed, null, JSON.stringify(options));
  }
  equal(found({}, ["text_encoder"]).fixed, null);
  equal(found({}, ["text_encoder", "unet"]).fixed, null);
});

Deno.test("TextOutputs holds what the text encoder makes of each caption alone, and leaves nothing on the device", async () => {
  using device = await Device.open();
  await base.loadByRule(device, 0);
  const captions = ["pixel art of sks person", "", "a, b, c", "zkz clothes, white background", "sks ".repeat(120)];
  for (const maxTokenLength of [75, 150] as const) {
    const { bytes, buffers } = device.statistics, rows = maxTokenLength / 75;
    const texts = await TextOutputs.encode(device, { base, tokenizer }, captions, { maxTokenLength }, run);
    deepEqual({ bytes: device.statistics.bytes, buffers: device.statistics.buffers }, { bytes, buffers });
    const alone = await device.compile(
      plan({ outputs: { context: base.encode(input("ids", [rows, 77], "i32"), { rows }) } }),
    );
    for (const caption of captions) {
      alone.run({ ids: tokenizer.chunks(caption, maxTokenLength).flat() });
      const { context } = await alone.read("context"), found = texts.get(caption);
      equal(found.length, (maxTokenLength + 2) * 48);
      // Of numbers near 1; another adapter may choose other kernels for four captions than for one.
      found.forEach((value, i) => ok(Math.abs(value - context[i]) < 1e-5, `${caption}[${i}]`));
    }
    device.release(alone);
    throws(() => texts.get("another"), /the caption "another" was not encoded beforehand/);
  }
});

Deno.test("A network without text modules learns the same from states as from ids, without a text encoder in its steps", async () => {
  using device = await Device.open();
  await base.loadByRule(device, 0);
  const network = trained("unet"), captions = ["sks person", "zkz clothes", "white background", ""];
  const texts = await TextOutputs.encode(device, { base, tokenizer }, captions, {}, run);
  const batches = (withStates: boolean) =>
    [captions.slice(0, 2), captions.slice(2), captions.slice(1, 3)].map((some, at): TrainBatch => ({
      ...{ height: 8, width: 8, tokenRows: 1 },
      samples: some.map((caption, i) => ({
        latents: uniformByRule(`latents.${at}.${i}`, 8 * 8 * 4),
        ids: tokenizer.chunks(caption, 75).flat(),
        ...(withStates ? { context: texts.get(caption) } : {}),
        lossWeight: 1,
      })),
    }));
  const train = async (withStates: boolean): Promise<TrainerState> => {
    device.upload(
      network.lora.weights,
      network.lora.flatten(({ down, up }) => ({
        down: weightByRule(down.name, down.shape),
        up: weightByRule(up.name, up.shape).map((value) => value / 10),
      })),
    );
    const trainer = new Trainer(device, base.schedule, [network], { seed: 1, totalSteps: 3 });
    try {
      for (const batch of batches(withStates)) await trainer.train(0, phase, [[batch]]);
      await trainer.readFigures();
      return await trainer.save();
    } finally {
      trainer.dispose();
    }
  };
  const [fed, live] = [await train(true), await train(false)], rate = 1e-3;
  const [{ weights }] = fed.networks, [{ weights: wanted }] = live.networks;
  // AdamW moves each weight by about its rate in each of three steps; states that were wrong would move it elsewhere.
  ok(weights.reduce((most, value, i) => Math.max(most, Math.abs(value - wanted[i])), 0) < rate / 100);

  const scopes = (contextSize?: number) => {
    const shape = {
      batch: 2,
      height: 8,
      width: 8,
      tokenRows: 1,
      ...(contextSize === undefined ? {} : { contextSize }),
    };
    const program = planStep([network], { predictionType: "epsilon" }, [shape], phase, { count: 1, isLast: true }, {});
    return program.steps.filter((step) => step.kind === "node" && step.node.scope.includes("text_encoder")).length;
  };
  ok(scopes() > 100);
  equal(scopes(48), 0);
});
