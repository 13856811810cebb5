import { type Device, SlotPool } from "../engine/mod.ts";
import { CompiledSampler } from "../models/sampling.ts";
import { VaeModel } from "../models/vae_model.ts";
import { loadBase, openBase } from "./bases.ts";
import { tokenIds } from "./dual_step.ts";
import { type Line, type LineKey, type Measured, measureLine } from "./line.ts";

const pixels = 128, steps = 20, sampler = "ddim", guidance = 7.5;

/** What the line is joined by. */
export const samplingKey: LineKey = {
  op: "sampling",
  shape: `toy ${pixels}px ${sampler} ${steps} steps batch1`,
  pass: "sample",
};

/** Measures one picture on the small base, from the prompt's token ids to pixels, as a recipe samples it. */
export async function measureSampling(options: { seconds: number }): Promise<Line> {
  return await measureLine(samplingKey, options, prepare);
}

async function prepare(device: Device): Promise<Measured> {
  const base = await openBase("toy", "f32");
  await loadBase("toy", base, device);
  const vae = await VaeModel.load(base.checkpoint, device), side = pixels / vae.factor;
  const compiled = await CompiledSampler.make(device, base, {
    ...{ sampler, steps, guidance, width: side, height: side, batch: 1, tokenRows: 1, adapters: [] },
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
