import { type Device, plan, type Program } from "../engine/mod.ts";
import type { BatchShape } from "./denoising.ts";
import { batchFeeds, shapeOf, type TrainBatch, type TrainingNoise } from "./feeds.ts";
import type { PackedFigures } from "./packed_figures.ts";
import { spreadTimesteps } from "./validation.ts";

/** Figures that are measured forward alone, on batches that stand still. */
export interface BatchFiguresRequest {
  /** Traces the figures of one batch, or of one batch of each network; inputs are those of `traceNoisyBatch`. */
  trace(shapes: readonly BatchShape[]): PackedFigures;
  readonly noise: TrainingNoise;
  /** Of the noise. */
  readonly seed: number;
  /** First of the noise's streams; networks draw from those behind it. */
  readonly noiseStream: number;
  /** Hears of batches that are done, and of all. */
  readonly onBatch?: (done: number, total: number) => void;
  readonly signal?: AbortSignal;
}

/** The program that measures batches of some shapes, without a GPU. */
export function planBatchFigures(
  { trace }: Pick<BatchFiguresRequest, "trace">,
  shapes: readonly BatchShape[],
): Program {
  return plan({ outputs: { figures: trace(shapes).tensor } });
}

/**
 * Measures batches at `spreadTimesteps`: for each batch, in their order, a record of figures for each timestep.
 *
 * @param batches For each what is measured together: one network's batch, or both networks'.
 * @throws The signal's reason.
 */
export async function batchFigures(
  device: Device,
  batches: readonly (readonly TrainBatch[])[],
  { trace, noise, seed, noiseStream, onBatch, signal }: BatchFiguresRequest,
): Promise<Record<string, number | number[]>[][]> {
  const timesteps = spreadTimesteps(noise.trainTimesteps), found: Record<string, number | number[]>[][] = [];
  let done = 0;
  const shapes = (together: readonly TrainBatch[]) => together.map(shapeOf);
  for (const [, alike] of Map.groupBy(batches.entries(), ([, each]) => JSON.stringify(shapes(each)))) {
    const figures = trace(shapes(alike[0][1]));
    const program = await device.compile(plan({ outputs: { figures: figures.tensor } }));
    try {
      for (const [place, together] of alike) {
        const recorder = program.recorder("figures", { rows: timesteps.length });
        try {
          for (const [at, timestep] of timesteps.entries()) {
            const feeds = Object.assign(
              {},
              ...together.map((batch, k) =>
                batchFeeds(batch, {
                  ...{ number: k === 0 ? 1 : 2, noise, loss: {}, seed, noiseStream, dropoutKeyCount: 0 },
                  micro: place * timesteps.length + at,
                  timesteps: batch.samples.map(() => timestep),
                })
              ),
            );
            const needed = Object.entries<ArrayLike<number>>(feeds).filter(([name]) =>
              program.program.inputs.has(name)
            );
            program.run(Object.fromEntries(needed), { record: [recorder] });
          }
          found[place] = (await recorder.read()).map(figures.unpack);
        } finally {
          recorder.dispose();
        }
        onBatch?.(++done, batches.length);
        signal?.throwIfAborted();
      }
    } finally {
      device.release(program);
    }
  }
  return found;
}
