import type { SamplerPlan } from "./sampler.ts";
import type { NoiseSchedule } from "./schedule.ts";
import { eulerStep, sigmaSteps } from "./sigmas.ts";

/**
 * Plans Euler's method with ancestral noise: each step goes below the next noise level, and fresh noise brings it back up.
 *
 * From σ to σ': `σ_up = σ'·√(σ² − σ'²) / σ`, `σ_down = √(σ'² − σ_up²) = σ'² / σ`. The last step adds no noise, since σ' is 0.
 *
 * @param steps Whole number, at least 1.
 * @see Katherine Crowson's k-diffusion, https://github.com/crowsonkb/k-diffusion, `sample_euler_ancestral`
 */
export function planEulerAncestral(schedule: NoiseSchedule, steps: number): Omit<SamplerPlan, "sampler"> {
  const { timesteps, sigmas, initNoiseSigma } = sigmaSteps(schedule, steps);
  return {
    initNoiseSigma,
    steps: timesteps.map((timestep, index) => {
      const sigma = sigmas[index];
      const sigmaAfter = sigmas[index + 1];
      const sigmaDown = sigmaAfter * sigmaAfter / sigma;
      const sigmaUp = sigmaAfter * Math.sqrt(sigma * sigma - sigmaAfter * sigmaAfter) / sigma;
      return { timestep, ...eulerStep(schedule, sigma, sigmaDown), noise: sigmaUp };
    }),
  };
}
