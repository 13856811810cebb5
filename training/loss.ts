import { abs, add, mean, multiply, reshape, scale, sqrt, square, subtract, type Tensor } from "../engine/mod.ts";

/** Names of the losses, as sd-scripts' `--loss_type` spells them. */
export const lossTypes = ["l2", "l1", "huber", "smooth_l1"] as const;

/** How the distance between prediction and target is measured. */
export type LossType = typeof lossTypes[number];

/** Names of what the Huber losses' threshold depends on, as sd-scripts' `--huber_schedule` spells them. */
export const huberSchedules = ["snr", "exponential", "constant"] as const;

/** What the Huber losses' threshold depends on. */
export type HuberSchedule = typeof huberSchedules[number];

/** What one network's loss is made of; sd-scripts' flags in brackets. */
export interface LossOptions {
  /** `l2` when left out (`--loss_type`). */
  readonly type?: LossType;
  /** Least threshold of the Huber losses; 0.1 when left out (`--huber_c`). */
  readonly huberC?: number;
  /** `snr` when left out (`--huber_schedule`). */
  readonly huberSchedule?: HuberSchedule;
  /** Samples with a larger signal-to-noise ratio are damped; 0, off, when left out (`--min_snr_gamma`). */
  readonly minSnrGamma?: number;
  /** Noise that all cells of a channel share is added with this factor; 0, off, when left out (`--noise_offset`). */
  readonly noiseOffset?: number;
  /** Noise of so many resolutions at most is added, in the place of a noise offset; 0, off, when left out (`--multires_noise_iterations`). */
  readonly multiresNoiseIterations?: number;
  /** Each coarser resolution counts so many times the one before; 0.3 when left out (`--multires_noise_discount`). */
  readonly multiresNoiseDiscount?: number;
}

/**
 * Mean distance of each sample, over channels and cells.
 *
 *     l2         (p − t)²
 *     l1         |p − t|
 *     huber      2c·(√((p − t)² + c²) − c), the pseudo-Huber loss: near 0 as l2, far away as 2c·l1
 *     smooth_l1  2·(√((p − t)² + c²) − c): far away as 2·l1
 *
 * @param prediction `[batch, height, width, channels]`
 * @param threshold `[batch]`, c of the Huber losses; see `huberThreshold`.
 * @returns `[batch]`
 * @see sd-scripts' `conditional_loss`; Charbonnier et al. 1997, https://doi.org/10.1109/83.551699, for √(x² + c²)
 */
export function sampleLoss(prediction: Tensor, target: Tensor, type: LossType, threshold: Tensor | null): Tensor {
  const difference = subtract(prediction, target), axes = [1, 2, 3];
  if (type === "l2") return mean(square(difference), axes);
  if (type === "l1") return mean(abs(difference), axes);
  const c = reshape(threshold!, [threshold!.shape[0], 1, 1, 1]);
  const excess = subtract(sqrt(add(square(difference), square(c))), c);
  const doubled = scale(mean(excess, axes), { factor: 2 });
  return type === "huber" ? multiply(threshold!, doubled) : doubled;
}

/**
 * Threshold c of the Huber losses at one timestep.
 *
 *     snr          (1 − c₀) / (1 + σ)² + c₀   with σ = √((1 − ᾱ) / ᾱ)
 *     exponential  c₀^(t / T)
 *     constant     c₀
 *
 * @param timestep From 0.
 * @param alpha ᾱ at the timestep.
 * @param options.trainTimesteps T, 1000 for Stable Diffusion.
 * @see sd-scripts' `get_huber_threshold_if_needed`
 * @example The threshold falls to c₀ where noise is all there is
 * ```ts
 * import { equal } from "node:assert/strict";
 * equal(huberThreshold(999, 0, { trainTimesteps: 1000, huberC: 0.2 }), 0.2);
 * equal(huberThreshold(500, 0.5, { trainTimesteps: 1000, huberC: 0.25 }), 0.4375);
 * ```
 */
export function huberThreshold(
  timestep: number,
  alpha: number,
  options: Pick<LossOptions, "huberC" | "huberSchedule"> & { readonly trainTimesteps: number },
): number {
  const { huberC = 0.1, huberSchedule = "snr", trainTimesteps } = options;
  switch (huberSchedule) {
    case "snr":
      return (1 - huberC) / (1 + Math.sqrt((1 - alpha) / alpha)) ** 2 + huberC;
    case "exponential":
      return huberC ** (timestep / trainTimesteps);
    case "constant":
      return huberC;
  }
}
