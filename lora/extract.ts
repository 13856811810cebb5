import type { LoraFileModule } from "../formats/lora_file.ts";
import { factorsOf, largestSingularValues } from "./low_rank.ts";

/** What is extracted of one layer. */
export interface ExtractOptions {
  /** No more than the layer's sizes are used. */
  readonly rank: number;
  /** Quantile of the factors' elements that they are cut off at, on both sides; 1 leaves them as they are. */
  readonly clampQuantile: number;
}

/**
 * A LoRA module whose change of weights approximates a difference, by its largest singular values: `up = U·S`, `down = Vᵀ`, alpha the rank.
 *
 * @param shape The weight's, `[out, in]` or `[out, in, height, width]`.
 * @see networks/extract_lora_from_models.py of sd-scripts
 */
export function extractModule(
  name: string,
  shape: readonly number[],
  difference: Float32Array,
  options: ExtractOptions,
): LoraFileModule {
  const [outSize, channels, ...kernel] = shape, inSize = difference.length / outSize;
  const rank = Math.min(options.rank, outSize, channels);
  const { up, down } = factorsOf(largestSingularValues(difference, outSize, inSize, rank), rank);
  clampTogether([up, down], options.clampQuantile);
  return {
    name,
    alpha: rank,
    down: { shape: [rank, channels, ...kernel], values: down },
    up: { shape: [outSize, rank, ...kernel.map(() => 1)], values: up },
  };
}

/**
 * Cuts numbers off at ± their quantile, interpolated between neighbours as `torch.quantile` does. It is the quantile of the numbers, not of their sizes.
 */
export function clampTogether(arrays: readonly Float32Array[], quantile: number): void {
  if (quantile === 1) return;
  const all = new Float32Array(arrays.reduce((sum, { length }) => sum + length, 0));
  let start = 0;
  for (const each of arrays) {
    all.set(each, start);
    start += each.length;
  }
  all.sort();
  const place = quantile * (all.length - 1), below = Math.floor(place), above = Math.min(below + 1, all.length - 1);
  const limit = all[below] + (place - below) * (all[above] - all[below]);
  // torch.clamp, too, gives the upper limit where the limits cross.
  for (const each of arrays) each.forEach((value, i) => each[i] = Math.min(limit, Math.max(-limit, value)));
}
