import type { Matrix } from "ml-matrix";
import type { LoraFileModule } from "../formats/lora_file.ts";
import { factorSpaces } from "./factor_spaces.ts";

/** How many singular values a module keeps, by their sizes; sd-scripts' names. */
export const rankRules = ["sv_ratio", "sv_fro", "sv_cumulative"] as const;

/** How a module is resized. */
export interface ResizeOptions {
  /** The new rank; with a rule, the most it may be. */
  readonly rank: number;
  readonly rule?: {
    readonly by: typeof rankRules[number];
    /**
     * `sv_ratio`: the largest value over the smallest that is kept, above 1. `sv_fro`: the share of the Frobenius norm that is kept at least, `sv_cumulative`: of the
     * sum of the values; up to 1.
     */
    readonly target: number;
  };
}

/** A module with fewer ranks. */
export interface ResizedModule {
  readonly module: LoraFileModule;
  /** Share of the Frobenius norm that is left, from 0 to 1. */
  readonly normKept: number;
  /** Share of the sum of the singular values that is left, from 0 to 1. */
  readonly sumKept: number;
}

/** Below it the largest singular value counts as 0. */
const noValue = 1e-6;

/**
 * The rank a module is given, as sd-scripts' `rank_resize` has it: by a rule it is one more than the singular values that meet the target.
 *
 * @param values Singular values, largest first.
 * @param count How many the whole matrix has; those beyond `values` are 0.
 */
export function resizedRank(values: readonly number[], count: number, { rank, rule }: ResizeOptions): number {
  const [largest = 0] = values;
  if (largest <= noValue) return 1;
  if (!rule) return rank;
  const { by, target } = rule;
  const met = by === "sv_ratio"
    ? values.filter((value) => value > largest / target).length
    : by === "sv_fro"
    ? reach(values.map((value) => value ** 2), target ** 2)
    : reach(values, target);
  return Math.min(rank, Math.max(1, Math.min(met, count - 1)) + 1);
}

/** How many of the numbers it takes to have a share of their sum. */
function reach(numbers: readonly number[], share: number): number {
  const total = numbers.reduce((sum, each) => sum + each, 0);
  let sum = 0;
  const found = numbers.findIndex((each) => (sum += each) / total >= share);
  return found < 0 ? numbers.length : found + 1;
}

/**
 * Approximates a module by one of a smaller rank, as well as any of that rank can: by its largest singular values. The scale `alpha / rank` stays. A module whose
 * rank is small enough already keeps it.
 *
 * @see networks/resize_lora.py of sd-scripts
 */
export function resizeModule(module: LoraFileModule, options: ResizeOptions): ResizedModule {
  const { down, up, alpha } = module, [oldRank] = down.shape, [outSize] = up.shape;
  const { values, rows, columns, down: downs, up: ups } = factorSpaces(module);
  const inSize = downs.length / oldRank, full = Math.min(inSize, outSize);
  const rank = Math.min(oldRank, full, resizedRank(values, full, options));
  // Ranks that are asked for beyond the values add nothing.
  const newDown = new Float32Array(rank * inSize), newUp = new Float32Array(outSize * rank);
  for (let r = 0; r < Math.min(rank, values.length); r++) {
    newDown.set(mixed(rows, r, downs), r * inSize);
    mixed(columns, r, ups).forEach((value, o) => newUp[o * rank + r] = value * values[r]);
  }
  const share = (power: number) => {
    const sum = (some: readonly number[]) => some.reduce((total, value) => total + value ** power, 0);
    const all = sum(values);
    return all === 0 ? 1 : (sum(values.slice(0, rank)) / all) ** (1 / power);
  };
  return {
    module: {
      name: module.name,
      alpha: alpha / oldRank * rank,
      down: { shape: [rank, ...down.shape.slice(1)], values: newDown },
      up: { shape: [outSize, rank, ...up.shape.slice(2)], values: newUp },
    },
    normKept: share(2),
    sumKept: share(1),
  };
}

/** One singular vector in f64: rows of a factor, each as often as the mixture's column says. */
function mixed(mixture: Matrix, column: number, factor: Float32Array): Float64Array {
  const length = factor.length / mixture.rows, sum = new Float64Array(length);
  for (let k = 0; k < mixture.rows; k++) {
    const weight = mixture.get(k, column), start = k * length;
    for (let i = 0; i < length; i++) sum[i] += weight * factor[start + i];
  }
  return sum;
}
