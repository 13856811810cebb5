import {
  add,
  divide,
  elementCount,
  input,
  mean,
  scale,
  sqrt,
  square,
  subtract,
  sum,
  type Tensor,
  upsampleBilinear,
} from "../engine/mod.ts";
import type { RandomStream } from "../random/philox.ts";

/** Height and width in latent cells. */
export interface Cells {
  readonly height: number;
  readonly width: number;
}

/**
 * Sizes of noise that is added to a picture's own, one for each of up to `iterations` levels: the picture's, then ever smaller ones, until a side is one
 * cell.
 *
 * @param ratio Drawn for each level, from 2 to below 4: level i is the level before it over ratioⁱ.
 * @see sd-scripts' `pyramid_noise_like`, as 0.6.4 has it
 * @example
 * ```ts
 * import { deepEqual } from "node:assert/strict";
 * const cells = multiresSizes({ height: 64, width: 48 }, 6, () => 2);
 * deepEqual(cells.map(({ height, width }) => [height, width]), [[64, 48], [32, 24], [8, 6], [1, 1]]);
 * ```
 */
export function multiresSizes({ height, width }: Cells, iterations: number, ratio: () => number): Cells[] {
  const sizes: Cells[] = [];
  for (let level = 0; level < iterations; level++) {
    const factor = ratio() ** level, smaller = (side: number) => Math.max(1, Math.trunc(side / factor));
    height = smaller(height);
    width = smaller(width);
    sizes.push({ height, width });
    if (height === 1 || width === 1) break;
  }
  return sizes;
}

/** The most cells that each level can have; a run has no more levels than these. */
export function largestMultiresSizes(cells: Cells, iterations: number): Cells[] {
  return multiresSizes(cells, iterations, () => 2);
}

/** Sizes of one micro-batch's levels: `[height, width]`, or two zeros for levels that it does not have. */
export function drawMultiresSizes(cells: Cells, iterations: number, random: RandomStream): [number, number][] {
  const drawn = multiresSizes(cells, iterations, () => 2 + 2 * random.nextFloat());
  return largestMultiresSizes(cells, iterations).map((_, level) => {
    const size = drawn[level];
    return size ? [size.height, size.width] : [0, 0];
  });
}

/** Noise of several resolutions as a step traces it. */
export interface MultiresNoiseRequest {
  /** 1 or 2: inputs carry it in their names. */
  readonly number: 1 | 2;
  readonly iterations: number;
  /** A level counts so many times the one before it. */
  readonly discount: number;
  /** Standard normal numbers of a shape, under a name. */
  drawn(name: string, shape: readonly number[]): Tensor;
}

/**
 * Adds noise of several resolutions to a batch's own, and scales the sum to a standard deviation of 1 over the batch (N − 1 below the line, as PyTorch's
 * `std`).
 *
 *     sum = noise + Σ discountⁱ · enlarged(noise of level i)
 *     result = sum / std(sum)
 *
 * Inputs, for network k and level i: `multires_<i>_<k>` of the level's largest size (or `multires_<i>_key_<k>`), and `multires_<i>_size_<k>` u32 `[2]`, which
 * part of it is used; see `drawMultiresSizes`.
 *
 * @param noise `[batch, height, width, 4]`
 */
export function addMultiresNoise(noise: Tensor, request: MultiresNoiseRequest): Tensor {
  const { number: k, iterations, discount, drawn } = request, [batch, height, width, channels] = noise.shape;
  let total = noise;
  for (const [level, largest] of largestMultiresSizes({ height, width }, iterations).entries()) {
    const cells = drawn(`multires_${level}`, [batch, largest.height, largest.width, channels]);
    const size = input(`multires_${level}_size_${k}`, [2], "u32");
    total = add(total, scale(upsampleBilinear(cells, size, { height, width }), { factor: discount ** level }));
  }
  const squares = sum(square(subtract(total, mean(total))));
  return divide(total, sqrt(scale(squares, { factor: 1 / (elementCount(noise.shape) - 1) })));
}
