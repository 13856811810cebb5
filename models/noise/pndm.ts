import { stepsOffset } from "./ddim.ts";
import { estimates, mixedAgain } from "./estimates.ts";
import type { PlannedSteps, SamplerStep } from "./sampler.ts";
import type { NoiseSchedule } from "./schedule.ts";
import { kept, latents, modelOutput, type WeightedSum, weightedSum } from "./sums.ts";

/** Adams and Bashforth's weights of the newest output and those before it, by how many there are; PNDM's equation 12 is the last. */
const multistep = [[1], [3 / 2, -1 / 2], [23 / 12, -16 / 12, 5 / 12], [55 / 24, -59 / 24, 37 / 24, -9 / 24]];

/**
 * Plans PNDM: three steps of Runge and Kutta's method (four evaluations each, equation 13), then linear multistep with four outputs (equation 12), both
 * with DDIM's transfer in place of the straight line (equation 11). The first three steps have 12 evaluations, each later one has one.
 *
 * ᾱ after the last step is that of timestep 0. The memory is the outputs at the last three steps, newest first, the latents at the step's beginning, and the
 * sum of outputs that Runge and Kutta's method makes.
 *
 * @param steps Whole number, 4 to `trainTimesteps − 1`; `steps + 9` evaluations.
 * @see Liu et al. 2022, https://arxiv.org/abs/2202.09778, algorithm 2
 */
export function planPndm(schedule: NoiseSchedule, steps: number): PlannedSteps {
  const stride = Math.floor(schedule.trainTimesteps / steps), half = Math.floor(stride / 2);
  const begin = kept(3), outputs = kept(4), planned: SamplerStep[] = [];
  for (let step = 0; step < 3; step++) {
    const timestep = (steps - 1 - step) * stride + stepsOffset, middle = timestep - half, end = timestep - stride;
    // Diffusers counts half a stride from both ends: with an odd stride its two middles are one timestep apart.
    const start = { timestep, inputScale: 1 }, between = { timestep: timestep - stride + half, inputScale: 1 };
    const to = (after: number, f: WeightedSum, x = begin) => transferred(schedule, timestep, after, f, x);
    planned.push(
      {
        ...start,
        next: to(middle, modelOutput, latents),
        memory: [modelOutput, kept(0), kept(1), latents, weightedSum([1 / 6, modelOutput])],
      },
      { ...between, next: to(between.timestep, modelOutput), memory: added(1 / 3) },
      { ...between, next: to(end, modelOutput), memory: added(1 / 3) },
      { timestep: end, inputScale: 1, next: to(end, weightedSum([1, outputs], [1 / 6, modelOutput])) },
    );
  }
  for (let step = 3; step < steps; step++) {
    const timestep = (steps - 1 - step) * stride + stepsOffset;
    planned.push(multistepped(schedule, timestep, timestep - stride, 3));
  }
  return { initNoiseSigma: 1, memory: 5, steps: planned };

  function added(weight: number): WeightedSum[] {
    return [kept(0), kept(1), kept(2), begin, weightedSum([1, outputs], [weight, modelOutput])];
  }
}

/**
 * Plans PNDM without Runge and Kutta's steps, as Stable Diffusion v1.5's own configuration asks for: the first step is made twice, the second time with the
 * mean of the outputs at both of its ends (improved Euler), then linear multistep with as many outputs as there are, up to four.
 *
 * The memory is the outputs at the last three steps, newest first, and the latents at the first step's beginning.
 *
 * @param steps Whole number, 1 to `trainTimesteps − 1`; `steps + 1` evaluations, one if there is one step.
 * @see Liu et al. 2022, https://arxiv.org/abs/2202.09778; CompVis's latent-diffusion, https://github.com/CompVis/latent-diffusion, `plms.py`
 */
export function planPlms(schedule: NoiseSchedule, steps: number): PlannedSteps {
  const stride = Math.floor(schedule.trainTimesteps / steps);
  const timesteps = Array.from({ length: steps }, (_, step) => (steps - 1 - step) * stride + stepsOffset);
  const [first, second] = timesteps;
  const planned = timesteps.map((timestep, step) => multistepped(schedule, timestep, timestep - stride, step));
  if (steps === 1) return { initNoiseSigma: 1, memory: 4, steps: planned };
  const [predicted, ...later] = planned, mean = weightedSum([1 / 2, kept(0)], [1 / 2, modelOutput]);
  const corrected = {
    timestep: second,
    inputScale: 1,
    next: transferred(schedule, first, second, mean, kept(3)),
  };
  return {
    initNoiseSigma: 1,
    memory: 4,
    steps: [{ ...predicted, memory: [modelOutput, kept(0), kept(1), latents] }, corrected, ...later],
  };
}

/** A step by linear multistep with up to three outputs from before. */
function multistepped(schedule: NoiseSchedule, timestep: number, after: number, before: number): SamplerStep {
  const outputs = [modelOutput, kept(0), kept(1), kept(2)], weights = multistep[Math.min(before, 3)];
  const output = weightedSum(...weights.map((weight, at) => [weight, outputs[at]] as const));
  return {
    timestep,
    inputScale: 1,
    next: transferred(schedule, timestep, after, output, latents),
    memory: [modelOutput, kept(0), kept(1)],
  };
}

/** Latents x taken from a timestep to an earlier one along an output f. */
function transferred(
  schedule: NoiseSchedule,
  timestep: number,
  after: number,
  f: WeightedSum,
  x: WeightedSum,
): WeightedSum {
  const alphas = schedule.alphasCumprod;
  return mixedAgain(estimates(schedule, alphas[timestep], { x, f }), alphas[Math.max(0, after)]);
}
