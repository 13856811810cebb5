import type { PlannedSteps, SamplerStep } from "./sampler.ts";
import type { NoiseSchedule } from "./schedule.ts";
import { ancestralStep, derivative, eulerStep, inputScale, sigmaSteps, timestepOf } from "./sigmas.ts";
import { freshNoise, kept, latents, weightedSum } from "./sums.ts";

/**
 * Plans k-diffusion's DPM2, the midpoint method: half a step of Euler's method to the geometric mean of both noise levels, then the whole step along the
 * derivative there. The last step, to σ = 0, is Euler's.
 *
 * The memory is the latents at the step's beginning.
 *
 * @param steps Whole number, at least 1; `2·steps − 1` evaluations.
 * @see Lu et al. 2022, https://arxiv.org/abs/2206.00927, algorithm 1; Katherine Crowson's k-diffusion, https://github.com/crowsonkb/k-diffusion,
 * `sample_dpm_2`
 */
export function planDpm2(schedule: NoiseSchedule, steps: number): PlannedSteps {
  return planMidpoint(schedule, steps, (_, sigmaAfter) => ({ sigmaDown: sigmaAfter, sigmaUp: 0 }));
}

/**
 * Plans DPM2 with ancestral noise: as DPM2, each step goes below the next noise level, and fresh noise brings it back up.
 *
 * @param steps Whole number, at least 1; `2·steps − 1` evaluations.
 * @see Katherine Crowson's k-diffusion, https://github.com/crowsonkb/k-diffusion, `sample_dpm_2_ancestral`
 */
export function planDpm2Ancestral(schedule: NoiseSchedule, steps: number): PlannedSteps {
  return planMidpoint(schedule, steps, ancestralStep);
}

function planMidpoint(schedule: NoiseSchedule, steps: number, split: typeof ancestralStep): PlannedSteps {
  const { timesteps, sigmas, initNoiseSigma } = sigmaSteps(schedule, steps);
  const planned = timesteps.flatMap((timestep, index): SamplerStep[] => {
    const sigma = sigmas[index], { sigmaDown, sigmaUp } = split(sigma, sigmas[index + 1]);
    const middle = Math.sqrt(sigma * sigmaDown), half = eulerStep(schedule, { timestep, sigma, sigmaAfter: middle });
    if (sigmaDown === 0) return [half];
    return [{ ...half, memory: [latents] }, {
      timestep: timestepOf(schedule, middle),
      inputScale: inputScale(middle),
      next: weightedSum([1, kept(0)], [sigmaDown - sigma, derivative(schedule, middle)], [sigmaUp, freshNoise]),
    }];
  });
  return { initNoiseSigma, memory: 1, steps: planned };
}
