import { defineOp, type Gradients } from "../graph/op.ts";
import { elementwise } from "./kernels/elementwise.ts";
import { multiply } from "./multiply.ts";

/** `eˣ`; f32 overflows above x = 88. */
export const exp = defineOp({
  name: "exp",
  inputs: ["x"],
  type: ({ x }) => ({ shape: x.shape, dtype: "f32" }),
  kernel: elementwise("exp(x)"),
  // dx = y dy
  gradient: (dy, _, { output }): Gradients => ({ x: multiply(output, dy) }),
  samples: [
    { inputs: { x: [7, 3] }, extremes: [-100, 85], expect: (x) => x.map(Math.exp) },
    { inputs: { x: [32] }, extremes: [-100, 85], expect: (x) => x.map(Math.exp) },
  ],
});
