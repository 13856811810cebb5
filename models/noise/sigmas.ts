import type { SamplerStep } from "./sampler.ts";
import type { NoiseSchedule } from "./schedule.ts";
import { latents, modelOutput, type WeightedSum, weightedSum } from "./sums.ts";

/** Where the samplers that think in sigmas evaluate the model: latents are `z + σ·ε` there. */
export interface SigmaSteps {
  /** `[steps]`, falling from the last training timestep to 0, fractional. */
  readonly timesteps: readonly number[];
  /** `[steps + 1]`, noise levels σ at the timesteps, and a 0 behind. */
  readonly sigmas: readonly number[];
  /** σ at the last training timestep: the factor of the starting noise. */
  readonly initNoiseSigma: number;
}

/**
 * Timesteps in equal distances over the whole training range, and their noise levels `σ = √((1 − ᾱ) / ᾱ)`, interpolated
 * between whole timesteps.
 *
 * @param steps Whole number, at least 1. A single step stands at timestep 0.
 */
export function sigmaSteps(schedule: NoiseSchedule, steps: number): SigmaSteps {
  const levels = Float64Array.from(schedule.alphasCumprod, (alpha) => Math.sqrt((1 - alpha) / alpha));
  const last = levels.length - 1;
  const timesteps = Array.from(
    { length: steps },
    (_, index) => steps === 1 ? 0 : last * (steps - 1 - index) / (steps - 1),
  );
  const sigmas = timesteps.map((timestep) => {
    const below = Math.min(Math.floor(timestep), last - 1);
    return levels[below] + (timestep - below) * (levels[below + 1] - levels[below]);
  });
  return { timesteps, sigmas: [...sigmas, 0], initNoiseSigma: levels[last] };
}

/**
 * The latents' derivative `dx/dσ` at noise level σ.
 *
 * The model sees `x / √(σ² + 1)`. With the clean latents z that its output f stands for, `dx/dσ = (x − z) / σ`:
 *
 *     noise predicted:     dx/dσ = f
 *     velocity predicted:  dx/dσ = σ / (σ² + 1)·x + f / √(σ² + 1)      from z = x / (σ² + 1) − σ / √(σ² + 1)·f
 *
 * @see Karras et al. 2022, https://arxiv.org/abs/2206.00364
 */
export function derivative({ predictionType }: NoiseSchedule, sigma: number): WeightedSum {
  const scale = inputScale(sigma);
  return predictionType === "epsilon"
    ? modelOutput
    : weightedSum([sigma * scale * scale, latents], [scale, modelOutput]);
}

/** Factor that brings latents at noise level σ to the variance that the model was trained with: `1 / √(σ² + 1)`. */
export function inputScale(sigma: number): number {
  return 1 / Math.sqrt(sigma * sigma + 1);
}

/** One step of Euler's method from noise level σ to another: a straight line along `dx/dσ`. */
export function eulerStep(
  schedule: NoiseSchedule,
  { timestep, sigma, sigmaAfter }: { timestep: number; sigma: number; sigmaAfter: number },
): SamplerStep {
  const next = weightedSum([1, latents], [sigmaAfter - sigma, derivative(schedule, sigma)]);
  return { timestep, inputScale: inputScale(sigma), next };
}

/**
 * The timestep, mostly a fractional one, with a noise level σ: interpolated between the logarithms of whole timesteps' levels, as k-diffusion does.
 *
 * @param sigma Between the levels of the first and the last timestep; outside of them the nearest is taken.
 */
export function timestepOf(schedule: NoiseSchedule, sigma: number): number {
  const levels = Float64Array.from(schedule.alphasCumprod, (alpha) => Math.log((1 - alpha) / alpha) / 2);
  const above = levels.findIndex((level) => level > Math.log(sigma));
  const low = above === -1 ? levels.length - 2 : Math.max(0, above - 1);
  const share = (Math.log(sigma) - levels[low]) / (levels[low + 1] - levels[low]);
  return low + Math.min(1, Math.max(0, share));
}

/**
 * An ancestral step from σ to σ': how far down it goes, and the standard deviation of the noise that brings it up again.
 *
 * `σ_up = σ'·√(σ² − σ'²) / σ`, `σ_down = √(σ'² − σ_up²) = σ'² / σ`.
 *
 * @see Katherine Crowson's k-diffusion, https://github.com/crowsonkb/k-diffusion, `get_ancestral_step`
 */
export function ancestralStep(sigma: number, sigmaAfter: number): { sigmaDown: number; sigmaUp: number } {
  return {
    sigmaDown: sigmaAfter * sigmaAfter / sigma,
    sigmaUp: sigmaAfter * Math.sqrt(sigma * sigma - sigmaAfter * sigmaAfter) / sigma,
  };
}
