import { planDdim } from "./ddim.ts";
import { planDpm2, planDpm2Ancestral } from "./dpm_2.ts";
import { planDpmSingle, planDpmSolver, planDpmSolverPlusPlus } from "./dpm_solver.ts";
import { planEuler } from "./euler.ts";
import { planEulerAncestral } from "./euler_ancestral.ts";
import { planHeun } from "./heun.ts";
import { planLms } from "./lms.ts";
import { planPlms, planPndm } from "./pndm.ts";
import type { NoiseSchedule } from "./schedule.ts";
import { kept, type WeightedSum } from "./sums.ts";

/**
 * One evaluation of the model and the update after it, as numbers.
 *
 * The model sees `inputScale · x` and `timestep`; then the latents and the memory are replaced by weighted sums of what they were, of the model's output and
 * of fresh noise. Every sampler planned here is linear in these, so one GPU program replays all its steps.
 */
export interface SamplerStep {
  /** What the model gets as its timestep; fractional for the samplers that think in sigmas. */
  readonly timestep: number;
  /** Factor of the latents before they go into the model. */
  readonly inputScale: number;
  /** The latents after the step. */
  readonly next: WeightedSum;
  /** What is kept after the step, from place 0 on; places left out stay as they are. */
  readonly memory?: readonly WeightedSum[];
}

/** All steps of a sampling run, known before it begins. */
export interface SamplerPlan {
  /** The sampler's own name, not the alias it was asked for by. */
  readonly sampler: SamplerName;
  /** Factor of the normal noise that the latents start from. */
  readonly initNoiseSigma: number;
  /** Number of things, each as large as the latents, that are kept between steps; all 0 before the first. */
  readonly memory: number;
  /** In the order they run; one evaluation of the model each. */
  readonly steps: readonly SamplerStep[];
}

/** What a sampler plans. */
export type PlannedSteps = Omit<SamplerPlan, "sampler">;

const planners = {
  ddim: planDdim,
  pndm: planPndm,
  plms: planPlms,
  lms: planLms,
  euler: planEuler,
  euler_a: planEulerAncestral,
  heun: planHeun,
  dpm_2: planDpm2,
  dpm_2_a: planDpm2Ancestral,
  dpmsolver: planDpmSolver,
  "dpmsolver++": planDpmSolverPlusPlus,
  dpmsingle: planDpmSingle,
};

/** The samplers that can be planned, by the names of kohya's scripts; `plms` is Stable Diffusion v1.5's own. */
export type SamplerName = keyof typeof planners;

/** Names of the samplers that can be planned. */
export const samplerNames: readonly SamplerName[] = Object.keys(planners) as SamplerName[];

const aliases: Readonly<Record<string, SamplerName>> = {
  k_lms: "lms",
  k_euler: "euler",
  k_euler_a: "euler_a",
  k_dpm_2: "dpm_2",
  k_dpm_2_a: "dpm_2_a",
};

/**
 * Plans a sampling run on the host.
 *
 * Settings are those of kohya's `sample_images`: DDIM with eta 0, no clipping (clipping to [−1, 1] is not linear and means nothing for latents); steps offset 1
 * for DDIM and PNDM; PNDM with its Runge-Kutta start; sigmas interpolated, without churn; DPM-Solver of second order.
 *
 * @param name A sampler's name, or one of the aliases `k_lms`, `k_euler`, `k_euler_a`, `k_dpm_2`, `k_dpm_2_a`.
 * @param schedule The noise process the model was trained with; says whether the model predicts noise or velocity.
 * @param options.steps Steps from noise to picture; some samplers evaluate the model more than once in each.
 * @throws {RangeError} If the name is not a sampler's, or the number of steps is out of range.
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
  const sampler = checkSampler(name, { ...options, trainTimesteps: schedule.trainTimesteps });
  return { sampler, ...planners[sampler](schedule, options.steps) };
}

/** Samplers that think in sigmas: they can stop at every timestep there is, while in diffusers the others begin behind the last one then, and fail. */
const bySigmas: readonly SamplerName[] = ["lms", "euler", "euler_a", "heun", "dpm_2", "dpm_2_a"];

/** Least and most steps that a sampler takes. */
export function stepLimits(sampler: SamplerName, trainTimesteps = 1000): { least: number; most: number } {
  return {
    least: sampler === "pndm" ? 4 : 1,
    most: bySigmas.includes(sampler) ? trainTimesteps : trainTimesteps - 1,
  };
}

/**
 * Checks what a sampler is asked for, without a schedule.
 *
 * @param options.steps A whole number within `stepLimits`.
 * @returns The sampler's own name.
 * @throws {RangeError} If the name is not a sampler's, or the number of steps is out of range.
 */
export function checkSampler(
  name: string,
  { steps, trainTimesteps = 1000 }: { steps: number; trainTimesteps?: number },
): SamplerName {
  const sampler = resolveSamplerName(name), { least, most } = stepLimits(sampler, trainTimesteps);
  if (!Number.isInteger(steps) || steps < least || steps > most) {
    throw new RangeError(
      `Cannot sample with ${sampler}: steps is ${steps}, must be a whole number from ${least} to ${most}`,
    );
  }
  return sampler;
}

/**
 * All factors of a step as a matrix, for a state of the latents and the memory.
 *
 * @returns A row for the latents and for each place of the memory; in each the factors of latents, model's output, noise, and of each place.
 */
export function stepMatrix({ next, memory = [] }: SamplerStep, places: number): number[][] {
  const rows = [next, ...Array.from({ length: places }, (_, place) => memory[place] ?? kept(place))];
  return rows.map((row) => Array.from({ length: 3 + places }, (_, at) => row[at] ?? 0));
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
    throw new RangeError(`Cannot sample with "${name}": this sampler does not exist; choose one of ${supported}`);
  }
  return found;
}
