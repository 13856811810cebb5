import { planDdim } from "./ddim.ts";
import { planEuler } from "./euler.ts";
import { planEulerAncestral } from "./euler_ancestral.ts";
import type { NoiseSchedule } from "./schedule.ts";

/**
 * One evaluation of the model and the update after it, as numbers.
 *
 * The model sees `inputScale · x` and `timestep`; then `x ← latents · x + modelOutput · f + noise · ε`, where x are the latents
 * before the step (not scaled), f is the model's output after guidance, and ε is fresh normal noise. Every sampler planned here
 * is linear in the three, so that a GPU needs a single fused kernel.
 */
export interface SamplerStep {
  /** What the model gets as its timestep; fractional for Euler's samplers. */
  readonly timestep: number;
  /** Factor of the latents before they go into the model. */
  readonly inputScale: number;
  /** Factor of the latents in the update. */
  readonly latents: number;
  /** Factor of the model's output in the update. */
  readonly modelOutput: number;
  /** Factor of fresh noise in the update; 0 where the sampler adds none, and none need be drawn. */
  readonly noise: number;
}

/** All steps of a sampling run, known before it begins. */
export interface SamplerPlan {
  /** The sampler's own name, not the alias it was asked for by. */
  readonly sampler: SamplerName;
  /** Factor of the normal noise that the latents start from. */
  readonly initNoiseSigma: number;
  /** In the order they run; one evaluation of the model each. */
  readonly steps: readonly SamplerStep[];
}

const planners = { ddim: planDdim, euler: planEuler, euler_a: planEulerAncestral };

/** The samplers that can be planned, by the names of kohya's scripts. */
export type SamplerName = keyof typeof planners;

/** Names of the samplers that can be planned. */
export const samplerNames: readonly SamplerName[] = Object.keys(planners) as SamplerName[];

const aliases: Readonly<Record<string, SamplerName>> = { k_euler: "euler", k_euler_a: "euler_a" };

/** Names that kohya's scripts know beside ours; said apart from misspellings in errors. */
const knownElsewhere = ["pndm", "plms", "lms", "k_lms", "heun", "dpm_2", "k_dpm_2", "dpm_2_a", "k_dpm_2_a"]
  .concat(["dpmsolver", "dpmsolver++", "dpmsingle"]);

/**
 * Plans a sampling run on the host.
 *
 * Settings are those of kohya's `sample_images`: DDIM with eta 0, steps offset 1, no clipping (clipping to [−1, 1] is not linear
 * and means nothing for latents); Euler with interpolated sigmas and without churn.
 *
 * @param name `ddim`, `euler`, `euler_a`, or the aliases `k_euler` and `k_euler_a`.
 * @param schedule The noise process the model was trained with; says whether the model predicts noise or velocity.
 * @param options.steps Evaluations of the model; a whole number, 1 to `trainTimesteps − 1`.
 * @throws {RangeError} If the name is not a supported sampler's, or the number of steps is out of range.
 * @example Euler's last step lands on the model's estimate of the clean latents
 * ```ts
 * import { equal } from "node:assert/strict";
 * import { NoiseSchedule } from "./schedule.ts";
 * const plan = planSampler("k_euler", new NoiseSchedule(), { steps: 20 });
 * equal(plan.sampler, "euler");
 * equal(plan.steps.length, 20);
 * ```
 */
export function planSampler(name: string, schedule: NoiseSchedule, options: { steps: number }): SamplerPlan {
  const sampler = resolveSamplerName(name);
  const { steps } = options;
  const mostSteps = schedule.trainTimesteps - 1;
  if (!Number.isInteger(steps) || steps < 1 || steps > mostSteps) {
    throw new RangeError(
      `Cannot sample with ${sampler}: steps is ${steps}, must be a whole number from 1 to ${mostSteps}`,
    );
  }
  return { sampler, ...planners[sampler](schedule, steps) };
}

/**
 * The sampler that a name or an alias stands for.
 *
 * @throws {RangeError} If there is none; the message lists what is supported.
 */
export function resolveSamplerName(name: string): SamplerName {
  const resolved = Object.hasOwn(aliases, name) ? aliases[name] : name;
  const found = samplerNames.find((one) => one === resolved);
  if (found === undefined) {
    const supported = [...samplerNames, ...Object.keys(aliases)].join(", ");
    const problem = knownElsewhere.includes(name) ? "is not supported" : "does not exist";
    throw new RangeError(`Cannot sample with "${name}": this sampler ${problem}; choose one of ${supported}`);
  }
  return found;
}
