import type { PlannedSteps } from "./sampler.ts";
import type { NoiseSchedule } from "./schedule.ts";
import { derivative, inputScale, sigmaSteps } from "./sigmas.ts";
import { kept, latents, weightedSum } from "./sums.ts";

/**
 * Plans the linear multistep method of up to four derivatives `dx/dσ`: the polynomial through them is integrated to the next noise level.
 *
 * The memory is the last three derivatives, newest first.
 *
 * @param steps Whole number, at least 1; as many evaluations.
 * @see Katherine Crowson's k-diffusion, https://github.com/crowsonkb/k-diffusion, `sample_lms`
 */
export function planLms(schedule: NoiseSchedule, steps: number): PlannedSteps {
  const { timesteps, sigmas, initNoiseSigma } = sigmaSteps(schedule, steps);
  const planned = timesteps.map((timestep, index) => {
    const current = derivative(schedule, sigmas[index]), derivatives = [current, kept(0), kept(1), kept(2)];
    const nodes = sigmas.slice(Math.max(0, index - 3), index + 1).reverse();
    const weights = integrals(nodes, sigmas[index], sigmas[index + 1]);
    return {
      timestep,
      inputScale: inputScale(sigmas[index]),
      next: weightedSum([1, latents], ...weights.map((weight, at) => [weight, derivatives[at]] as const)),
      memory: [current, kept(0), kept(1)],
    };
  });
  return { initNoiseSigma, memory: 3, steps: planned };
}

/** ∫ of each Lagrange polynomial of up to four nodes, by Gauss and Legendre's rule of two points: exact up to the third degree. */
function integrals(nodes: readonly number[], from: number, to: number): number[] {
  const half = (to - from) / 2, points = [-1, 1].map((side) => (from + to) / 2 + side * half / Math.sqrt(3));
  return nodes.map((node) => {
    const others = nodes.filter((other) => other !== node);
    const value = (at: number) => others.reduce((product, other) => product * (at - other) / (node - other), 1);
    return half * (value(points[0]) + value(points[1]));
  });
}
