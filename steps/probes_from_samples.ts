import { imageTensor, latentCells } from "../data/resize.ts";
import { pooledBytes } from "../engine/mod.ts";
import { planEncoding } from "../models/vae/encoding.ts";
import { buildVae, VaeModel } from "../models/vae_model.ts";
import { defineStep } from "../pipeline/mod.ts";
import { bases, probes, samples } from "./things.ts";
import { checkOptions } from "./values/check_options.ts";
import type { Probe } from "./values/probes.ts";
import { columnOf } from "./values/sample_sheet.ts";

/** Options of `probesFromSamples`. */
export interface ProbesFromSamplesOptions {
  /** Column of the samples that shows what network 1 is about: its pictures alone. */
  readonly network1: string;
  readonly network2: string;
}

/** Takes what interference is measured on from pictures that each network made by itself, with the prompts they were made with: for LoRAs whose own pictures are not at hand. */
export function probesFromSamples(options: ProbesFromSamplesOptions) {
  const name = "probes from samples", failure = "Cannot take probes of";
  checkOptions<ProbesFromSamplesOptions>(name, options, { network1: true, network2: true });
  return defineStep({
    name,
    version: 1,
    options,
    needs: { bases, samples },
    gives: { probes },
    plan: ({ bases, samples: { columns, width, height } }) => {
      const cells = { width: latentCells(width), height: latentCells(height) };
      const [network1, network2] = [options.network1, options.network2].map((name) =>
        columnOf(columns, name, failure).prompts.map(() => cells)
      );
      const { model, weights } = buildVae(bases.network1.checkpoint);
      const { program } = planEncoding(model, { width, height });
      return {
        figures: { vaeGpuBytes: pooledBytes([program], weights.all.map(({ variable }) => variable)) },
        gives: { probes: { network1, network2 } },
      };
    },
    run: async ({ bases: { network1: { checkpoint }, device }, samples: { columns } }, run) => {
      const vae = await VaeModel.load(checkpoint, device), names = [options.network1, options.network2];
      const shown = names.map((name) => columnOf(columns, name, failure)),
        total = shown.flatMap(({ pictures }) => pictures).length;
      const found: Probe[][] = [[], []];
      let done = 0;
      try {
        for (const [k, { pictures }] of shown.entries()) {
          for (const picture of pictures) {
            const { width, height, prompt } = picture;
            const [{ mean }] = await vae.encode([imageTensor(picture)], { width, height });
            found[k].push({
              latents: mean,
              width: latentCells(width),
              height: latentCells(height),
              prompt,
              hasWeights: true,
            });
            run.progress({ done: ++done, total, unit: "pictures" });
            run.signal.throwIfAborted();
          }
        }
      } finally {
        vae.free();
      }
      const [network1, network2] = found;
      return { probes: { network1, network2, source: "pictures that each LoRA made alone, with their prompts" } };
    },
  });
}
