import { defineOp, type Gradients } from "../graph/op.ts";
import { elementwise } from "./kernels/elementwise.ts";
import { float } from "./kernels/wgsl.ts";

/** `factor * x + offset`, both numbers fixed in the kernel. */
export const scale = defineOp<readonly ["x"], { readonly factor: number; readonly offset?: number }>({
  name: "scale",
  inputs: ["x"],
  type: ({ x }) => ({ shape: x.shape, dtype: "f32" }),
  kernel: elementwise(({ factor, offset = 0 }) => `x * ${float(factor)}${offset ? ` + ${float(offset)}` : ""}`),
  gradient: (dy, _, { attributes: { factor } }): Gradients => ({ x: scale(dy, { factor }) }),
  samples: [
    { inputs: { x: [2, 3] }, attributes: { factor: -0.5 }, expect: (x) => x.map((v) => -0.5 * v) },
    { inputs: { x: [33] }, attributes: { factor: 2, offset: 1e-6 }, expect: (x) => x.map((v) => 2 * v + 1e-6) },
  ],
});
