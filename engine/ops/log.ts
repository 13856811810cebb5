import { defineOp, type Gradients } from "../graph/op.ts";
import { divide } from "./divide.ts";
import { elementwise } from "./kernels/elementwise.ts";

/** Natural logarithm, for x > 0. */
export const log = defineOp({
  name: "log",
  inputs: ["x"],
  type: ({ x }) => ({ shape: x.shape, dtype: "f32" }),
  kernel: elementwise("log(x)"),
  // dx = dy / x
  gradient: (dy, { x }): Gradients => ({ x: divide(dy, x) }),
  samples: [
    { inputs: { x: [7, 3] }, range: [0.1, 4], extremes: [1e-6, 100], expect: (x) => x.map(Math.log) },
    { inputs: { x: [32] }, range: [0.1, 4], extremes: [1e-6, 100], expect: (x) => x.map(Math.log) },
  ],
});
