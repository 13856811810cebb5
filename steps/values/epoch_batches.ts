import { type Batch, type EpochTime, pairEpoch } from "../../data/dataset.ts";
import { weightedChunks } from "../../models/clip/weighted_prompt.ts";
import type { TrainBatch } from "../../training/feeds.ts";
import type { OpenedLatents } from "./latents.ts";
import type { TrainingSide } from "./training_loop.ts";
import type { TrainingOptions } from "./training_options.ts";

/** How captions become ids. */
export type PromptOptions = Pick<TrainingOptions, "maxTokenLength" | "weightedCaptions">;

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
    steps.push(async () => {
      const made: TrainBatch[][] = [];
      for (const batches of micro) {
        const row: TrainBatch[] = [];
        for (const [k, batch] of batches.entries()) {
          row.push(await trainBatch(batch, sides[k], latents, prompts));
        }
        made.push(row);
      }
      return made;
    });
  }
  return steps;
}

/** A batch with latents and token ids in the place of pictures and captions. */
export async function trainBatch(
  { samples }: Batch,
  { tokenizer }: Pick<TrainingSide, "tokenizer">,
  latents: OpenedLatents,
  { maxTokenLength = 75, weightedCaptions = false }: PromptOptions,
): Promise<TrainBatch> {
  const pictures = await latents.get(samples), [{ height, width }] = pictures;
  const promptOf = (caption: string) => {
    if (!weightedCaptions) return { ids: tokenizer.chunks(caption, maxTokenLength).flat() };
    const { rows, weights } = weightedChunks(tokenizer, caption, maxTokenLength);
    return { ids: rows.flat(), tokenWeights: weights };
  };
  return {
    height,
    width,
    tokenRows: maxTokenLength / 75,
    samples: samples.map(({ image, caption }, at) => ({
      latents: pictures[at].values,
      lossWeight: image.lossWeight,
      ...promptOf(caption),
    })),
  };
}
