import { type Device, type FloatFormat, SlotPool } from "../engine/mod.ts";
import { CompiledSampler } from "../models/sampling.ts";
import { type BaseName, loadBase, loadVae, openBase } from "./bases.ts";
import { tokenIds } from "./dual_step.ts";
import { f16Arithmetic, type Line, type LineKey, type Measured, measureLine } from "./line.ts";

/** One picture that is sampled. */
export interface Sampling {
  readonly base: BaseName;
  /** Side of the picture. */
  readonly pixels: number;
  /** What the weights of text encoder and UNet are stored in; the VAE's are f32, as recipes have them. */
  readonly precision: FloatFormat;
  /** Whether the UNet's activations are f16 as well, and multiplied in f16. */
  readonly inF16?: boolean;
  /** Too long, or too much memory, to be measured unless asked for. */
  readonly large?: boolean;
}

/** The pictures that are measured: on the small base, and in SD v1.5's sizes. */
export const samplings: readonly Sampling[] = [
  { base: "toy", pixels: 128, precision: "f32" },
  { base: "sd15", pixels: 512, precision: "f16", large: true },
  { base: "sd15", pixels: 512, precision: "f16", inF16: true, large: true },
];

const steps = 20, sampler = "ddim", guidance = 7.5;

/** What the line is joined by. */
export function samplingKey({ base, pixels, precision, inF16 }: Sampling): LineKey {
  const shape = `${base} ${pixels}px ${sampler} ${steps} steps batch1`;
  return { op: "sampling", shape, pass: "sample", dtype: inF16 ? f16Arithmetic : precision };
}

/** Measures one picture, from the prompt's token ids to pixels, as a recipe samples it. */
export async function measureSampling(sampling: Sampling, options: { seconds: number }): Promise<Line> {
  return await measureLine(samplingKey(sampling), options, (device) => prepare(device, sampling));
}

async function prepare(device: Device, { base: name, pixels, precision, inF16 }: Sampling): Promise<Measured> {
  const base = await openBase(name, precision);
  await loadBase(name, base, device);
  const vae = await loadVae(name, base, device), side = pixels / vae.factor;
  const compiled = await CompiledSampler.make(device, base, {
    ...{ sampler, steps, guidance, width: side, height: side, batch: 1, tokenRows: 1, adapters: [] },
    ...inF16 ? { activations: "f16" } : {},
  }, new SlotPool(device));
  const request = { promptIds: [tokenIds(base, 1)], negativeIds: [tokenIds(base, 2)], seeds: [1] };
  let picture: Uint8Array = new Uint8Array();
  return {
    run: async () => {
      [picture] = await vae.decode(await compiled.sample(request), { width: side, height: side });
    },
    // Each run ends with the pixels.
    wait: () => Promise.resolve(),
    figures: ({ medianMs }) => ({
      ms_per_step: medianMs / steps,
      check: picture.reduce((sum, value) => sum + value, 0) / picture.length,
    }),
  };
}
