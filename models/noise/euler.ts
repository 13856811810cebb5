import type { PlannedSteps } from "./sampler.ts";
import type { NoiseSchedule } from "./schedule.ts";
import { eulerStep, sigmaSteps } from "./sigmas.ts";

/**
 * Plans Euler's method without churn: one straight step along `dx/dσ` for each noise level; no noise is added.
 *
 * @param steps Whole number, at least 1; as many evaluations.
 * @see Karras et al. 2022, algorithm 2, https://arxiv.org/abs/2206.00364
 */
export function planEuler(schedule: NoiseSchedule, steps: number): PlannedSteps {
  const { timesteps, sigmas, initNoiseSigma } = sigmaSteps(schedule, steps);
  const planned = timesteps.map((timestep, index) =>
    eulerStep(schedule, { timestep, sigma: sigmas[index], sigmaAfter: sigmas[index + 1] })
  );
  return { initNoiseSigma, memory: 0, steps: planned };
}
