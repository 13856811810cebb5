import type { SamplerPlan } from "./sampler.ts";
import type { NoiseSchedule } from "./schedule.ts";
import { eulerStep, sigmaSteps } from "./sigmas.ts";

/**
 * Plans Euler's method without churn: one straight step along `dx/dσ` for each noise level; no noise is added.
 *
 * @param steps Whole number, at least 1.
 * @see Karras et al. 2022, algorithm 2, https://arxiv.org/abs/2206.00364
 */
export function planEuler(schedule: NoiseSchedule, steps: number): Omit<SamplerPlan, "sampler"> {
  const { timesteps, sigmas, initNoiseSigma } = sigmaSteps(schedule, steps);
  return {
    initNoiseSigma,
    steps: timesteps.map((timestep, index) => ({
      timestep,
      ...eulerStep(schedule, sigmas[index], sigmas[index + 1]),
      noise: 0,
    })),
  };
}
