import { defineOp } from "../graph/op.ts";
import { adaptiveScalars } from "./dadapt_step.ts";
import { scalarKernel } from "./kernels/update.ts";
import { float } from "./kernels/wgsl.ts";

/** What tells one D-adaptive optimizer's estimate from another's. */
export interface DadaptEstimateAttributes {
  /** What is kept of the accumulated sum. */
  readonly keep: number;
  /** Factor of the new sum. */
  readonly gain: number;
  /** The new sum is multiplied by this power of the step's rate. */
  readonly power: 1 | 2;
  /** Factor of the accumulated sum in the estimate. */
  readonly accumulatedFactor: number;
  /** Factor of `weighted` in the estimate. */
  readonly weightedFactor: number;
  /** d grows by this factor a step at most; without it by any. */
  readonly growthRate?: number;
}

/**
 * The D-adaptive estimate, in dadaptation's order; overwrites the optimizer's scalars `[4]`, see `adaptiveScalars`.
 *
 *     accumulated ← keep · accumulated + gain · rateᵖ · sum
 *     d̂ = (weightedFactor · weighted + accumulatedFactor · accumulated) / norm
 *     d ← max(d, min(d̂, d · growthRate))
 *
 * `sum`, `weighted` and `norm` are `[1]`: sums over all parameters; the rate is that of `step`, see `dadaptStep`. Where `norm` is 0 nothing changes, and the step moves nothing.
 *
 * @see Defazio and Mishchenko 2023, https://arxiv.org/abs/2301.07733
 */
export const dadaptEstimate = defineOp<
  readonly ["scalars", "sum", "weighted", "norm", "step"],
  DadaptEstimateAttributes
>({
  name: "dadapt_estimate",
  inputs: ["scalars", "sum", "weighted", "norm", "step"],
  overwrites: 1,
  type: ({ scalars }) => ({ shape: scalars.shape, dtype: "f32" }),
  kernel: ({ inputs, attributes: { keep, gain, power, accumulatedFactor, weightedFactor, growthRate } }) => {
    const { distance, accumulated, updates, moves } = adaptiveScalars;
    const capped = growthRate === undefined ? "found" : `min(found, d * ${float(growthRate)})`;
    return scalarKernel(
      inputs,
      `
  if (norm[0] == 0.0) {
    scalars[${moves}] = 0.0;
    return;
  }
  let d = scalars[${distance}];
  let total = ${float(keep)} * scalars[${accumulated}] + ${float(gain)} * step[0]${
        power === 2 ? " * step[0]" : ""
      } * sum[0];
  let found = (${float(weightedFactor)} * weighted[0] + ${float(accumulatedFactor)} * total) / norm[0];
  scalars[${accumulated}] = total;
  // At rate 0 there is nothing to judge by.
  if (step[0] > 0.0) { scalars[${distance}] = max(d, ${capped}); }
  scalars[${updates}] += 1.0;
  scalars[${moves}] = 1.0;`,
    );
  },
  samples: [
    {
      inputs: { scalars: [4], sum: [1], weighted: [1], norm: [1], step: [4] },
      values: { scalars: [0.5, 2, 7, 0], sum: [3], weighted: [0], norm: [0.25], step: [0.5, 7, 1, 0.5] },
      attributes: { keep: 0.5, gain: 0.25, power: 1, accumulatedFactor: 2, weightedFactor: 0 },
      // 0.5·2 + 0.25·0.5·3 = 1.375; 2·1.375 / 0.25 = 11
      expect: () => [11, 1.375, 8, 1],
    },
    {
      inputs: { scalars: [4], sum: [1], weighted: [1], norm: [1], step: [4] },
      values: { scalars: [0.5, 2, 7, 0], sum: [3], weighted: [4], norm: [0.25], step: [0.5, 7, 1, 0.5] },
      attributes: { keep: 1, gain: 1, power: 2, accumulatedFactor: -1, weightedFactor: 10, growthRate: 2 },
      // 2 + 0.25·3 = 2.75; (40 − 2.75) / 0.25 = 149, but 0.5 may only double
      expect: () => [1, 2.75, 8, 1],
    },
    {
      inputs: { scalars: [4], sum: [1], weighted: [1], norm: [1], step: [4] },
      values: { scalars: [0.5, 2, 7, 1], sum: [3], weighted: [4], norm: [0], step: [0.5, 7, 1, 0.5] },
      attributes: { keep: 1, gain: 1, power: 2, accumulatedFactor: -1, weightedFactor: 10 },
      expect: () => [0.5, 2, 7, 0],
    },
  ],
});
