import type { NoiseSchedule } from "./schedule.ts";
import { latents, modelOutput, type WeightedSum, weightedSum } from "./sums.ts";

/** What latents are made of at a timestep, as the model's output tells it. */
export interface Estimates {
  /** √ᾱ, factor of the clean latents. */
  readonly signal: number;
  /** √(1−ᾱ), factor of the noise. */
  readonly sigma: number;
  /** The estimated clean latents z. */
  readonly clean: WeightedSum;
  /** The estimated noise ε. */
  readonly noise: WeightedSum;
}

/**
 * Estimates the clean latents z and the noise ε in latents `x = √ᾱ·z + √(1−ᾱ)·ε`:
 *
 *     noise predicted:     z = (x − √(1−ᾱ)·f) / √ᾱ      ε = f
 *     velocity predicted:  z = √ᾱ·x − √(1−ᾱ)·f          ε = √(1−ᾱ)·x + √ᾱ·f
 *
 * @param alpha ᾱ, above 0 and up to 1.
 * @param x The latents, where they are not those the model has just seen.
 * @param f The model's output, where it is not the last one.
 * @see Song et al. 2020, https://arxiv.org/abs/2010.02502, equation 9; Salimans and Ho 2022, https://arxiv.org/abs/2202.00512
 */
export function estimates(
  { predictionType }: NoiseSchedule,
  alpha: number,
  { x = latents, f = modelOutput }: { x?: WeightedSum; f?: WeightedSum } = {},
): Estimates {
  const signal = Math.sqrt(alpha), sigma = Math.sqrt(1 - alpha);
  return predictionType === "epsilon"
    ? { signal, sigma, clean: weightedSum([1 / signal, x], [-sigma / signal, f]), noise: f }
    : { signal, sigma, clean: weightedSum([signal, x], [-sigma, f]), noise: weightedSum([sigma, x], [signal, f]) };
}

/**
 * DDIM's step from ᾱ to ᾱ': the estimates mixed again, `x' = √ᾱ'·z + √(1−ᾱ')·ε`. PNDM writes the same as its transfer.
 *
 * @see Song et al. 2020, https://arxiv.org/abs/2010.02502, equation 12 with σ 0; Liu et al. 2022, https://arxiv.org/abs/2202.09778, equation 11
 */
export function mixedAgain({ clean, noise }: Estimates, alphaAfter: number): WeightedSum {
  return weightedSum([Math.sqrt(alphaAfter), clean], [Math.sqrt(1 - alphaAfter), noise]);
}
