/** Names of the schedules, as sd-scripts' `--lr_scheduler` spells them. */
export const learningRateSchedules = [
  "constant",
  "constant_with_warmup",
  "linear",
  "cosine",
  "cosine_with_restarts",
  "polynomial",
  "adafactor",
] as const;

/** Name of a schedule. */
export type LearningRateSchedule = typeof learningRateSchedules[number];

/** A learning rate over a run. */
export interface LearningRateOptions {
  /** The rate that the schedule multiplies; > 0. */
  readonly learningRate: number;
  /** `constant` when left out. */
  readonly schedule?: LearningRateSchedule;
  /** Steps over which the rate rises from 0, counted as `total` of `learningRateMultiplier` is; 0 when left out. */
  readonly warmupSteps?: number;
  /** Falls of `cosine_with_restarts`; 1 when left out. */
  readonly cycles?: number;
  /** Power of `polynomial`; 1 when left out. */
  readonly power?: number;
}

/** Where `polynomial` ends: a rate, not a multiplier, so that its multipliers depend on the learning rate. */
export const polynomialEnd = 1e-7;

/**
 * What the schedule multiplies a learning rate by, by the formulas of diffusers' and transformers' schedules.
 *
 * With warm-up the first step has multiplier 0. After its end `cosine` rises again, as there; `linear` and the restarts stay 0, `polynomial` stays where it
 * ends. `adafactor` is constant here: that optimizer has rates of its own.
 *
 * @param step Optimizer step, from 0.
 * @param total Optimizer steps of the run.
 * @throws {RangeError} If the learning rate is below 0, or `polynomial` begins below its end.
 * @see diffusers 0.10.2, `optimization.py`; the restarts are Loshchilov and Hutter 2017, https://arxiv.org/abs/1608.03983
 * @example Half of a cosine
 * ```ts
 * import { equal } from "node:assert/strict";
 * equal(learningRateMultiplier(50, 100, { learningRate: 2, schedule: "cosine" }), 0.5);
 * ```
 */
export function learningRateMultiplier(step: number, total: number, options: LearningRateOptions): number {
  const { learningRate, schedule = "constant", warmupSteps = 0, cycles = 1, power = 1 } = options;
  if (!(learningRate >= 0) || !Number.isFinite(learningRate)) {
    throw new RangeError(`Cannot train: learning rate is ${learningRate}, must be a number from 0 on`);
  }
  if (schedule === "constant" || schedule === "adafactor") return 1;
  if (step < warmupSteps) return step / Math.max(1, warmupSteps);
  if (schedule === "constant_with_warmup") return 1;
  const rest = Math.max(1, total - warmupSteps), progress = (step - warmupSteps) / rest;
  switch (schedule) {
    case "linear":
      return Math.max(0, (total - step) / rest);
    case "cosine":
      return Math.max(0, 0.5 * (1 + Math.cos(Math.PI * progress)));
    case "cosine_with_restarts":
      return progress >= 1 ? 0 : Math.max(0, 0.5 * (1 + Math.cos(Math.PI * (cycles * progress % 1))));
    case "polynomial": {
      if (learningRate <= polynomialEnd) {
        throw new RangeError(
          `Cannot train: learning rate is ${learningRate}, must be above ${polynomialEnd}, where polynomial ends`,
        );
      }
      if (step > total) return polynomialEnd / learningRate;
      const rate = (learningRate - polynomialEnd) * (1 - progress) ** power + polynomialEnd;
      return rate / learningRate;
    }
  }
}

/** What moves a schedule: optimizer steps, or micro-batches as under accelerate 0.15, which sd-scripts 0.6.4 and the original use. */
export type ScheduleUnit = "step" | "batch";

/**
 * The multiplier of an optimizer step that is made of micro-batches.
 *
 * By `batch` the schedule has moved once for each micro-batch before the one that the update follows: warm-up then counts micro-batches, and step k reads
 * position `k·n + n − 1` of a schedule of `total · n`.
 *
 * @param step Optimizer step, from 0.
 * @param total Optimizer steps of the run.
 */
export function stepMultiplier(
  step: number,
  total: number,
  options: LearningRateOptions & { readonly accumulationSteps?: number; readonly unit?: ScheduleUnit },
): number {
  const { accumulationSteps: n = 1, unit = "step" } = options;
  return unit === "step"
    ? learningRateMultiplier(step, total, options)
    : learningRateMultiplier(step * n + n - 1, total * n, options);
}
