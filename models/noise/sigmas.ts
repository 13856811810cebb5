import type { NoiseSchedule } from "./schedule.ts";

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
 * The step along `dx/dσ` that takes latents from noise level σ to another, as factors of latents and of the model's output.
 *
 * The model sees `x / √(σ² + 1)`. With the clean latents z that its output f stands for, `dx/dσ = (x − z) / σ`:
 *
 *     noise predicted:     dx/dσ = f
 *     velocity predicted:  dx/dσ = σ / (σ² + 1)·x + f / √(σ² + 1)      from z = x / (σ² + 1) − σ / √(σ² + 1)·f
 *
 * @see Karras et al. 2022, https://arxiv.org/abs/2206.00364
 */
export function eulerStep(
  schedule: NoiseSchedule,
  sigma: number,
  sigmaAfter: number,
): { inputScale: number; latents: number; modelOutput: number } {
  const change = sigmaAfter - sigma;
  const inputScale = 1 / Math.sqrt(sigma * sigma + 1);
  return schedule.predictionType === "epsilon"
    ? { inputScale, latents: 1, modelOutput: change }
    : { inputScale, latents: 1 + change * sigma * inputScale * inputScale, modelOutput: change * inputScale };
}
