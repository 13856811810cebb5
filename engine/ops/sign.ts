import { defineOp } from "../graph/op.ts";
import { elementwise } from "./kernels/elementwise.ts";

/** −1, 0 or 1. Its gradient is zero. */
export const sign = defineOp({
  name: "sign",
  inputs: ["x"],
  type: ({ x }) => ({ shape: x.shape, dtype: "f32" }),
  kernel: elementwise("sign(x)"),
  gradient: () => ({ x: null }),
  samples: [
    { inputs: { x: [7, 3] }, expect: (x) => x.map(Math.sign) },
    { inputs: { x: [32] }, range: [-0.5, 0.5], expect: (x) => x.map(Math.sign) },
    { inputs: { x: [3] }, values: { x: [0, -2, 3] }, expect: () => [0, -1, 1] },
  ],
});
