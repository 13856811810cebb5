import { defineStep } from "../pipeline/mod.ts";
import { measureAdditivity as measure } from "../training/additivity.ts";
import type { TrainBatch } from "../training/feeds.ts";
import { additivity, bases, data, latents, network1, network2 } from "./things.ts";
import { checkOptions } from "./values/check_options.ts";
import { buildNetwork } from "./values/network.ts";
import { promptOf } from "./values/prompts.ts";
import { datasetOf, eachNetwork, type TrainingData } from "./values/training_data.ts";
import { trainingNoise } from "./values/training_loop.ts";

/** Options of `measureAdditivity`. */
export interface MeasureAdditivityOptions {
  /** Prompts that ask for both concepts: each held-out picture is tried with each of them. */
  readonly prompts: readonly string[];
  /** Seed of the noise; 1 when left out. */
  readonly seed?: number;
}

/**
 * Measures on held-out pictures of both networks whether the networks' changes of a prediction add up in the stack: see `Additivity`. The pictures come from
 * `readDatasets` with a `validationSplit`.
 */
export function measureAdditivity(options: MeasureAdditivityOptions) {
  const name = "measure additivity";
  checkOptions<MeasureAdditivityOptions>(name, options, { prompts: true, seed: true });
  const { prompts, seed = 1 } = options;
  if (!Array.isArray(prompts) || prompts.length === 0) {
    throw new TypeError("Cannot measure additivity: prompts must be a list of prompts, with at least one");
  }
  return defineStep({
    name,
    version: 1,
    options,
    seeds: { seed },
    needs: { bases, data, latents, network1, network2 },
    gives: { additivity },
    plan: ({ data }) => ({ figures: { pictures: heldOutBatches(data).length }, lines: prompts }),
    run: async ({ bases, data, latents, network1, network2 }, run) => {
      const { device, network1: base, tokenizer1: tokenizer } = bases;
      const loras = [network1, network2].map(({ options }, k) => buildNetwork(`network ${k + 1}`, base, options));
      using opened = await latents.open(bases);
      const batches: TrainBatch[] = [];
      for (const { samples } of heldOutBatches(data)) {
        const pictures = await opened.get(samples), [{ height, width }] = pictures;
        for (const prompt of prompts) {
          const text = promptOf(tokenizer, prompt, {});
          const asked = pictures.map(({ values }) => ({ latents: values, lossWeight: 1, ...text }));
          batches.push({ height, width, tokenRows: 1, samples: asked });
        }
      }
      try {
        [network1, network2].forEach(({ weights }, k) => device.upload(loras[k].weights, weights));
        const [one, two] = loras, noise = trainingNoise(bases, {});
        const found = await measure(device, { base, network1: one, network2: two, noise, batches, seed });
        run.figures({ "additivity error": found.error });
        return { additivity: found };
      } finally {
        device.free(loras.map((lora) => lora.weights));
      }
    },
    store: "json",
  });
}

function heldOutBatches(data: TrainingData) {
  const batches = eachNetwork(data).flatMap(([, each]) => datasetOf(each).validationBatches());
  if (batches.length > 0) return batches;
  throw new Error("Cannot measure additivity: no pictures are held out; read the data with a validationSplit");
}
