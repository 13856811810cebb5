import type { PlannedSteps } from "./sampler.ts";
import type { NoiseSchedule } from "./schedule.ts";
import { ancestralStep, eulerStep, sigmaSteps } from "./sigmas.ts";
import { freshNoise, weightedSum } from "./sums.ts";

/**
 * Plans Euler's method with ancestral noise: each step goes below the next noise level, and fresh noise brings it back up. The last step adds no noise.
 *
 * @param steps Whole number, at least 1; as many evaluations.
 * @see Katherine Crowson's k-diffusion, https://github.com/crowsonkb/k-diffusion, `sample_euler_ancestral`
 */
export function planEulerAncestral(schedule: NoiseSchedule, steps: number): PlannedSteps {
  const { timesteps, sigmas, initNoiseSigma } = sigmaSteps(schedule, steps);
  const planned = timesteps.map((timestep, index) => {
    const sigma = sigmas[index], { sigmaDown, sigmaUp } = ancestralStep(sigma, sigmas[index + 1]);
    const step = eulerStep(schedule, { timestep, sigma, sigmaAfter: sigmaDown });
    return { ...step, next: weightedSum([1, step.next], [sigmaUp, freshNoise]) };
  });
  return { initNoiseSigma, memory: 0, steps: planned };
}
