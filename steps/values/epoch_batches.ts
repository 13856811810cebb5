import { type Batch, type EpochTime, pairEpoch } from "../../data/dataset.ts";
import type { TrainBatch } from "../../training/feeds.ts";
import type { OpenedLatents } from "./latents.ts";
import { promptOf, type PromptOptions } from "./prompts.ts";
import type { TrainingSide } from "./training_loop.ts";

/** An epoch's optimizer steps, each a function that makes its micro-batches: for each of them one batch a network. */
export function epochSteps(
  sides: readonly TrainingSide[],
  latents: OpenedLatents,
  epoch: number,
  time: EpochTime,
  prompts: PromptOptions,
): (() => Promise<TrainBatch[][]>)[] {
  const epochs = sides.map((side) => side.dataset.epoch(epoch, time)), accumulation = time.accumulationSteps ?? 1;
  const rows: Batch[][] = epochs.length === 1
    ? epochs[0].map((batch) => [batch])
    : pairEpoch(epochs[0], epochs[1]).map(([one, two]) => [one, two]);
  const steps: (() => Promise<TrainBatch[][]>)[] = [];
  for (let at = 0; at < rows.length; at += accumulation) {
    const micro = rows.slice(at, at + accumulation);
    // All at once: each batch's pictures are decoded before its first one waits for the device.
    steps.push(() =>
      Promise.all(
        micro.map((batches) => Promise.all(batches.map((batch, k) => trainBatch(batch, sides[k], latents, prompts)))),
      )
    );
  }
  return steps;
}

/** A batch with latents and token ids in the place of pictures and captions. */
export async function trainBatch(
  { samples }: Batch,
  { tokenizer, texts }: Pick<TrainingSide, "tokenizer" | "texts">,
  latents: OpenedLatents,
  prompts: PromptOptions,
): Promise<TrainBatch> {
  const pictures = await latents.get(samples), [{ height, width }] = pictures;
  return {
    height,
    width,
    tokenRows: (prompts.maxTokenLength ?? 75) / 75,
    samples: samples.map(({ image, caption }, at) => ({
      latents: pictures[at].values,
      lossWeight: image.lossWeight,
      ...promptOf(tokenizer, caption, prompts),
      ...(texts ? { context: texts.get(caption) } : {}),
    })),
  };
}
