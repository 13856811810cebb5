import { defineOp, type Gradients } from "../graph/op.ts";
import { elementwise } from "./kernels/elementwise.ts";
import { multiply } from "./multiply.ts";
import { sign } from "./sign.ts";

/** `|x|`. */
export const abs = defineOp({
  name: "abs",
  inputs: ["x"],
  type: ({ x }) => ({ shape: x.shape, dtype: "f32" }),
  kernel: elementwise("abs(x)"),
  // dx = sign(x) dy
  gradient: (dy, { x }): Gradients => ({ x: multiply(sign(x), dy) }),
  samples: [
    { inputs: { x: [7, 3] }, expect: (x) => x.map(Math.abs) },
    { inputs: { x: { shape: [32], dtype: "f16" } }, expect: (x) => x.map(Math.abs) },
  ],
});
