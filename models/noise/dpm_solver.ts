import { estimates } from "./estimates.ts";
import type { PlannedSteps } from "./sampler.ts";
import type { NoiseSchedule } from "./schedule.ts";
import { kept, latents, type WeightedSum, weightedSum } from "./sums.ts";

/** From this many steps on the last one is of second order as well. */
const manySteps = 15;

/** What the integral over `λ = ln(√ᾱ / √(1−ᾱ))` is of: DPM-Solver takes the noise for it, DPM-Solver++ the clean latents. */
type Integrand = "noise" | "clean";

/**
 * Plans DPM-Solver, second order multistep: the noise is extrapolated from its last two estimates.
 *
 * The memory is the estimate before.
 *
 * @param steps Whole number, 1 to `trainTimesteps − 1`; as many evaluations.
 * @see Lu et al. 2022, https://arxiv.org/abs/2206.00927
 */
export function planDpmSolver(schedule: NoiseSchedule, steps: number): PlannedSteps {
  return planMultistep(schedule, steps, "noise");
}

/**
 * Plans DPM-Solver++(2M): the clean latents are extrapolated from their last two estimates.
 *
 * The memory is the estimate before.
 *
 * @param steps Whole number, 1 to `trainTimesteps − 1`; as many evaluations.
 * @see Lu et al. 2022, https://arxiv.org/abs/2211.01095, algorithm 2
 */
export function planDpmSolverPlusPlus(schedule: NoiseSchedule, steps: number): PlannedSteps {
  return planMultistep(schedule, steps, "clean");
}

/**
 * Plans DPM-Solver++(2S): pairs of evaluations, the first of which goes to a point between, the second from the pair's beginning to its end; with an odd
 * number of steps the last is of first order.
 *
 * The memory is the clean latents estimated at the pair's beginning, and the latents there.
 *
 * @param steps Whole number, 1 to `trainTimesteps − 1`; as many evaluations.
 * @see Lu et al. 2022, https://arxiv.org/abs/2211.01095, algorithm 1
 */
export function planDpmSingle(schedule: NoiseSchedule, steps: number): PlannedSteps {
  const timesteps = solverTimesteps(schedule, steps);
  const planned = timesteps.slice(0, -1).map((timestep, index) => {
    const { clean } = estimates(schedule, schedule.alphasCumprod[timestep]), after = timesteps[index + 1];
    if (index % 2 === 0) {
      const next = solved(schedule, { from: timestep, to: after, x: latents, integrand: "clean", value: clean });
      return { timestep, inputScale: 1, next, memory: [clean, latents] };
    }
    const begin = timesteps[index - 1], slope = [begin, timestep] as const;
    const value = extrapolated(schedule, { from: begin, to: after, value: kept(0), slope, other: clean });
    const next = solved(schedule, { from: begin, to: after, x: kept(1), integrand: "clean", value });
    return { timestep, inputScale: 1, next };
  });
  return { initNoiseSigma: 1, memory: 2, steps: planned };
}

function planMultistep(schedule: NoiseSchedule, steps: number, integrand: Integrand): PlannedSteps {
  const timesteps = solverTimesteps(schedule, steps);
  const planned = timesteps.slice(0, -1).map((timestep, index) => {
    const estimate = estimates(schedule, schedule.alphasCumprod[timestep])[integrand], after = timesteps[index + 1];
    const firstOrder = index === 0 || (index === steps - 1 && steps < manySteps);
    const slope = [timestep, timesteps[index - 1]] as const;
    const value = firstOrder
      ? estimate
      : extrapolated(schedule, { from: timestep, to: after, value: estimate, slope, other: kept(0) });
    const next = solved(schedule, { from: timestep, to: after, x: latents, integrand, value });
    return { timestep, inputScale: 1, next, memory: [estimate] };
  });
  return { initNoiseSigma: 1, memory: 1, steps: planned };
}

/** `[steps + 1]`, in equal distances from the last timestep to 0, rounded half to even. */
function solverTimesteps({ trainTimesteps }: NoiseSchedule, steps: number): number[] {
  const stride = (trainTimesteps - 1) / steps;
  return Array.from({ length: steps + 1 }, (_, index) => {
    const exact = (steps - index) * stride, below = Math.floor(exact);
    return exact - below === 0.5 ? below + below % 2 : Math.round(exact);
  });
}

/** λ, half the logarithm of the ratio of signal to noise. */
function lambda({ alphasCumprod }: NoiseSchedule, timestep: number): number {
  return Math.log(alphasCumprod[timestep] / (1 - alphasCumprod[timestep])) / 2;
}

/**
 * The integrand in the middle of a step, along a line through its values at two timesteps: `D = value + h / (2·hₛ) · (other − value)`, where h is the step in
 * λ, and hₛ the slope's.
 */
function extrapolated(
  schedule: NoiseSchedule,
  { from, to, value, slope, other }: {
    from: number;
    to: number;
    value: WeightedSum;
    slope: readonly [timestep: number, otherTimestep: number];
    other: WeightedSum;
  },
): WeightedSum {
  const step = lambda(schedule, to) - lambda(schedule, from);
  const share = step / (2 * (lambda(schedule, slope[1]) - lambda(schedule, slope[0])));
  return weightedSum([1 - share, value], [share, other]);
}

/**
 * The exact solution from timestep s to t for an integrand D that does not change, with h = λₜ − λₛ:
 *
 *     noise:  x' = αₜ/αₛ·x − σₜ·(e^h − 1)·D       (DPM-Solver, equation 3.7)
 *     clean:  x' = σₜ/σₛ·x − αₜ·(e^−h − 1)·D      (DPM-Solver++, section 4)
 */
function solved(
  schedule: NoiseSchedule,
  { from, to, x, integrand, value }: {
    from: number;
    to: number;
    x: WeightedSum;
    integrand: Integrand;
    value: WeightedSum;
  },
): WeightedSum {
  const step = lambda(schedule, to) - lambda(schedule, from);
  const [before, after] = [from, to].map((timestep) => estimates(schedule, schedule.alphasCumprod[timestep]));
  return integrand === "noise"
    ? weightedSum([after.signal / before.signal, x], [-after.sigma * Math.expm1(step), value])
    : weightedSum([after.sigma / before.sigma, x], [-after.signal * Math.expm1(-step), value]);
}
