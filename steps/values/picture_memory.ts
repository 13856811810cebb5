import { pooledBytes, type Program, variableBytes } from "../../engine/mod.ts";
import { planSampling, type PromptLayout } from "../../models/sampling.ts";
import { decodedTogether, planDecoding } from "../../models/vae/decoding.ts";
import { buildVae } from "../../models/vae_model.ts";
import type { OpenedBases } from "./bases.ts";
import type { PictureOptions } from "./picture_sampler.ts";
import { PictureStacks, type PlannedStackedNetwork, stackKey } from "./picture_stacks.ts";

/** Sampling as it is planned. */
export interface PlannedPictures {
  /** What the adapter must be able to hold; the VAE fits itself, by tiles where it has to. */
  readonly programs: readonly Program[];
  /** What all of it takes on the device. */
  readonly peakBytes: number;
  /** What it takes beside the base models. */
  readonly ownBytes: number;
}

/** Pictures that are made together. */
export interface PlannedBatch {
  readonly stack: readonly PlannedStackedNetwork[];
  /** See `promptLayout`. */
  readonly layout: PromptLayout;
}

/**
 * Plans what a `PictureSampler` does that samples `batch` pictures with each stack of networks.
 *
 * The bases stay on the device, the VAE's encoder as well; stacks take turns with one pool of slots, the VAE has its own.
 */
export function planPictures(
  bases: OpenedBases,
  options: PictureOptions,
  batches: readonly PlannedBatch[],
  batch: number,
): PlannedPictures {
  const planner = new PictureStacks(bases.network1, options);
  const distinct = new Map(batches.map((each) => [stackKey(each.stack, batch, each.layout), each]));
  const sampling = [...distinct.values()].flatMap(({ stack, layout }) => {
    const { encode, start, step } = planSampling(bases.network1, planner.sampling(stack, batch, layout));
    return [encode, start, step];
  });
  const { model, weights } = buildVae(bases.network1.checkpoint);
  const { height, width } = planner.sampling([], batch, { tokenRows: 1 });
  const together = decodedTogether(model, { height, width }), sizes = new Set([Math.min(together, batch)]);
  if (batch > together && batch % together) sizes.add(batch % together);
  const decoding = [...sizes].map((count) => planDecoding(model, { height, width }, { batch: count }).program);
  const loaded = [...new Set([bases.network1, bases.network2])].flatMap((base) => base.variables);
  const vae = weights.all.map(({ variable }) => variable);
  const peakBytes = pooledBytes(sampling, loaded) + pooledBytes(decoding, vae);
  return { programs: sampling, peakBytes, ownBytes: peakBytes - variableBytes(loaded) };
}
