import { latentCells } from "../data/resize.ts";
import { stillSample } from "../data/dataset.ts";
import { defineStep } from "../pipeline/mod.ts";
import { bases, data, latents, probes } from "./things.ts";
import { checkOptions } from "./values/check_options.ts";
import type { Probe } from "./values/probes.ts";
import { datasetOf, type NetworkData, type TrainingData } from "./values/training_data.ts";

/** Options of `probesFromData`. */
export interface ProbesFromDataOptions {
  /** Most pictures of each network; 8 when left out. */
  readonly most?: number;
}

/**
 * Takes what interference is measured on from each network's pictures and captions: those held out by `validationSplit` where there are such, else all of its own,
 * evenly spread; regularization pictures never.
 */
export function probesFromData(options: ProbesFromDataOptions = {}) {
  const name = "probes from data";
  checkOptions<ProbesFromDataOptions>(name, options, { most: true });
  const { most = 8 } = options;
  if (!Number.isInteger(most) || most < 1) {
    throw new RangeError(`Cannot take probes: most is ${most}, must be a whole number above 0`);
  }
  return defineStep({
    name,
    version: 1,
    options,
    needs: { bases, data, latents },
    gives: { probes },
    plan: ({ data }) => {
      const [network1, network2] = picturesOf(data, most).map((images) =>
        images.map(({ bucket: { width, height } }) => ({ width: latentCells(width), height: latentCells(height) }))
      );
      return {
        figures: { pictures1: network1.length, pictures2: network2.length },
        gives: { probes: { network1, network2 } },
      };
    },
    run: async ({ bases, data, latents }, run) => {
      using opened = await latents.open(bases);
      const pictures = picturesOf(data, most), total = pictures.flat().length, found: Probe[][] = [[], []];
      let done = 0;
      for (const [k, images] of pictures.entries()) {
        for (const image of images) {
          const [{ values, width, height }] = await opened.get([stillSample(image)]);
          found[k].push({ latents: values, width, height, prompt: image.caption, hasWeights: false });
          run.progress({ done: ++done, total, unit: "pictures" });
          run.signal.throwIfAborted();
        }
      }
      const [network1, network2] = found;
      return { probes: { network1, network2, source: "pictures with their captions" } };
    },
  });
}

function picturesOf({ network1, network2 }: TrainingData, most: number) {
  if (network2 === null) throw new Error("Cannot take probes: the data have pictures of network 1 alone");
  const of = (data: NetworkData) => {
    const own = datasetOf(data).images.filter(({ subset }) => !subset.settings.isReg);
    const heldOut = own.filter(({ isHeldOut }) => isHeldOut), all = heldOut.length > 0 ? heldOut : own;
    const count = Math.min(most, all.length);
    return Array.from({ length: count }, (_, i) => all[Math.floor(i * all.length / count)]);
  };
  return [of(network1), of(network2)];
}
