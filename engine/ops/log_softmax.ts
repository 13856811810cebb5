import { defineOp, type Gradients } from "../graph/op.ts";
import { rowKernel, rowType } from "./kernels/rows.ts";
import { softmaxOf } from "./softmax.ts";

const logSoftmaxGradient = defineOp({
  name: "log_softmax_gradient",
  inputs: ["y", "dy"],
  type: ({ y }) => ({ shape: y.shape, dtype: "f32" }),
  kernel: ({ inputs: { y, dy }, output, target }) =>
    rowKernel({ target, output, rows: { y, dy } }, (row) => [row.sum("total", "dy"), row.write("dy - exp(y) * total")]),
  samples: [],
});

/** `x − log Σ exp(x)` over the last axis; the row's maximum is taken off first, so nothing overflows. */
export const logSoftmax = defineOp({
  name: "log_softmax",
  inputs: ["x"],
  type: rowType,
  kernel: ({ inputs: { x }, output, target }) =>
    rowKernel({ target, output, rows: { x } }, (row) => [
      row.max("largest", "x"),
      row.sum("total", "exp(x - largest)"),
      row.write("x - largest - log(total)"),
    ]),
  // dx = dy − exp(y)·Σ dy
  gradient: (dy, _, { output }): Gradients => ({ x: logSoftmaxGradient(output, dy) }),
  samples: [
    { inputs: { x: [3, 7] }, range: [-5, 5], expect: (x) => softmaxOf(x, 7).map(Math.log) },
    { inputs: { x: [2, 3, 77] }, range: [-5, 5], expect: (x) => softmaxOf(x, 77).map(Math.log) },
    { inputs: { x: [40, 64] }, range: [-5, 5], expect: (x) => softmaxOf(x, 64).map(Math.log) },
  ],
});
