import { defineOp } from "../graph/op.ts";
import { haltedType, updateKernel, updateType } from "./kernels/update.ts";
import { float } from "./kernels/wgsl.ts";

/** A running mean, `mean ← β·mean + (1 − β)·x`; overwrites it. Nothing changes where `halted` is not 0, see `haltUnlessFinite`. */
export const movingMean = defineOp<readonly ["mean", "x", "halted"], { readonly beta: number }>({
  name: "moving_mean",
  inputs: ["mean", "x", "halted"],
  overwrites: 1,
  type: ({ mean, x }) => updateType({ mean, x }, 1)[0],
  kernel: ({ inputs: { mean, x, halted }, attributes: { beta }, target }) =>
    updateKernel(
      { target, elements: { mean, x }, overwrites: 1, small: { halted } },
      `mean[i] = mean[i] * ${float(beta)} + x[i] * ${float(1 - beta)};`,
    ),
  samples: [0, 1].map((halted) => ({
    inputs: { mean: [33], x: [33], halted: haltedType },
    values: { halted: [halted] },
    attributes: { beta: 0.75 },
    expect: (mean: number[], x: number[]) => halted ? mean : mean.map((m, i) => 0.75 * m + 0.25 * x[i]),
  })),
});
