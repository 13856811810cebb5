import { defineOp, type Gradients } from "../graph/op.ts";
import { elementwise } from "./kernels/elementwise.ts";
import { multiply } from "./multiply.ts";
import { scale } from "./scale.ts";

/** `x²`. */
export const square = defineOp({
  name: "square",
  inputs: ["x"],
  type: ({ x }) => ({ shape: x.shape, dtype: "f32" }),
  kernel: elementwise("x * x"),
  // dx = 2x dy
  gradient: (dy, { x }): Gradients => ({ x: multiply(scale(x, { factor: 2 }), dy) }),
  samples: [
    { inputs: { x: [7, 3] }, expect: (x) => x.map((v) => v * v) },
    { inputs: { x: { shape: [32], dtype: "f16" } }, expect: (x) => x.map((v) => v * v) },
  ],
});
