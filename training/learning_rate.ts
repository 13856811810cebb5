/** Names of the schedules, as sd-scripts' `--lr_scheduler` spells them. */
export const learningRateSchedules = ["constant", "constant_with_warmup", "linear", "cosine"] as const;

/** A learning rate over a run. */
export interface LearningRateOptions {
  /** The rate that the schedule multiplies; > 0. */
  readonly learningRate: number;
  /** `constant` when left out. */
  readonly schedule?: typeof learningRateSchedules[number];
  /** Optimizer steps over which the rate rises from 0; 0 when left out. */
  readonly warmupSteps?: number;
}

/**
 * The learning rate of one optimizer step, by the formulas of transformers' schedules.
 *
 * With warm-up the first step has rate 0. After its end `cosine` rises again, as there.
 *
 * @param step Optimizer step, from 0.
 * @param totalSteps Optimizer steps of the run.
 * @example Half of a cosine
 * ```ts
 * import { equal } from "node:assert/strict";
 * equal(learningRateAt(50, 100, { learningRate: 2, schedule: "cosine" }), 1);
 * ```
 */
export function learningRateAt(step: number, totalSteps: number, options: LearningRateOptions): number {
  const { learningRate, schedule = "constant", warmupSteps = 0 } = options;
  if (!(learningRate > 0) || !Number.isFinite(learningRate)) {
    throw new RangeError(`Cannot train: learning rate is ${learningRate}, must be above 0`);
  }
  if (schedule === "constant") return learningRate;
  if (step < warmupSteps) return learningRate * step / Math.max(1, warmupSteps);
  if (schedule === "constant_with_warmup") return learningRate;
  const rest = Math.max(1, totalSteps - warmupSteps);
  if (schedule === "linear") return learningRate * Math.max(0, (totalSteps - step) / rest);
  const progress = (step - warmupSteps) / rest;
  return learningRate * Math.max(0, 0.5 * (1 + Math.cos(Math.PI * progress)));
}
