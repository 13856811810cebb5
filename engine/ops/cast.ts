import { defineOp } from "../graph/op.ts";
import type { FloatFormat } from "../graph/types.ts";
import { elementwise } from "./kernels/elementwise.ts";

/** The same values as f32, f16 or bf16; integers become floats. */
export const cast = defineOp<readonly ["x"], { readonly dtype: FloatFormat }>({
  name: "cast",
  inputs: ["x"],
  type: ({ x }, { dtype }) => ({ shape: x.shape, dtype }),
  kernel: elementwise("x"),
  // Gradients are f32 whatever their value was stored in
  gradient: (dy) => ({ x: dy }),
  samples: [
    // f16 keeps 11 bits.
    { inputs: { x: [7, 32] }, attributes: { dtype: "f16" }, tolerance: 2 ** -11, expect: (x) => x },
    { inputs: { x: { shape: [33], dtype: "f16" } }, attributes: { dtype: "f32" }, expect: (x) => x },
    { inputs: { x: { shape: [7], dtype: "i32" } }, attributes: { dtype: "f32" }, integersBelow: 99, expect: (x) => x },
    { inputs: { x: { shape: [8], dtype: "u32" } }, attributes: { dtype: "f32" }, integersBelow: 99, expect: (x) => x },
  ],
});
