import type { PlannedSteps, SamplerStep } from "./sampler.ts";
import type { NoiseSchedule } from "./schedule.ts";
import { derivative, eulerStep, inputScale, sigmaSteps } from "./sigmas.ts";
import { kept, latents, weightedSum } from "./sums.ts";

/**
 * Plans Heun's method without churn: a step of Euler's method to the next noise level, made again with the mean of the derivatives at both of its ends. The
 * last step, to σ = 0, is Euler's.
 *
 * The memory is the latents at the step's beginning and the derivative there.
 *
 * @param steps Whole number, at least 1; `2·steps − 1` evaluations.
 * @see Karras et al. 2022, algorithm 1, https://arxiv.org/abs/2206.00364
 */
export function planHeun(schedule: NoiseSchedule, steps: number): PlannedSteps {
  const { timesteps, sigmas, initNoiseSigma } = sigmaSteps(schedule, steps);
  const planned = timesteps.flatMap((timestep, index): SamplerStep[] => {
    const sigma = sigmas[index], sigmaAfter = sigmas[index + 1];
    const euler = eulerStep(schedule, { timestep, sigma, sigmaAfter });
    if (sigmaAfter === 0) return [euler];
    const half = (sigmaAfter - sigma) / 2;
    return [{ ...euler, memory: [latents, derivative(schedule, sigma)] }, {
      timestep: timesteps[index + 1],
      inputScale: inputScale(sigmaAfter),
      next: weightedSum([1, kept(0)], [half, kept(1)], [half, derivative(schedule, sigmaAfter)]),
    }];
  });
  return { initNoiseSigma, memory: 2, steps: planned };
}
