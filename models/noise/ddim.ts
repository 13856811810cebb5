import { estimates, mixedAgain } from "./estimates.ts";
import type { PlannedSteps } from "./sampler.ts";
import type { NoiseSchedule } from "./schedule.ts";

/** Timesteps are shifted by one, as Stable Diffusion v1.5 is sampled. */
export const stepsOffset = 1;

/**
 * Plans DDIM with eta 0: timesteps in equal strides, ᾱ after the last step 1.
 *
 * @param steps Whole number, 1 to `trainTimesteps − 1`; as many evaluations.
 * @see Song et al. 2020, https://arxiv.org/abs/2010.02502
 */
export function planDdim(schedule: NoiseSchedule, steps: number): PlannedSteps {
  const stride = Math.floor(schedule.trainTimesteps / steps), alphas = schedule.alphasCumprod;
  const planned = Array.from({ length: steps }, (_, index) => {
    const timestep = (steps - 1 - index) * stride + stepsOffset;
    const alphaAfter = timestep >= stride ? alphas[timestep - stride] : 1;
    return { timestep, inputScale: 1, next: mixedAgain(estimates(schedule, alphas[timestep]), alphaAfter) };
  });
  return { initNoiseSigma: 1, memory: 0, steps: planned };
}
