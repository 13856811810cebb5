import { defineOp, type Gradients } from "../graph/op.ts";
import { divide } from "./divide.ts";
import { elementwise } from "./kernels/elementwise.ts";
import { scale } from "./scale.ts";

/** `√x`, for x ≥ 0; its gradient at 0 is infinite. */
export const sqrt = defineOp({
  name: "sqrt",
  inputs: ["x"],
  type: ({ x }) => ({ shape: x.shape, dtype: "f32" }),
  kernel: elementwise("sqrt(x)"),
  // dx = dy / (2√x)
  gradient: (dy, _, { output }): Gradients => ({ x: scale(divide(dy, output), { factor: 0.5 }) }),
  samples: [
    { inputs: { x: [7, 3] }, range: [0.1, 4], extremes: [1e-6, 100], expect: (x) => x.map(Math.sqrt) },
    { inputs: { x: [32] }, range: [0.1, 4], extremes: [1e-6, 100], expect: (x) => x.map(Math.sqrt) },
  ],
});
