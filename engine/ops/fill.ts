import { defineOp } from "../graph/op.ts";
import type { Shape } from "../graph/types.ts";
import { elementwise } from "./kernels/elementwise.ts";
import { float } from "./kernels/wgsl.ts";

/** A tensor whose elements all have one value. */
export const fill = defineOp<readonly [], { readonly shape: Shape; readonly value: number }>({
  name: "fill",
  inputs: [],
  type: (_, { shape }) => ({ shape, dtype: "f32" }),
  kernel: elementwise(({ value }) => `V(${float(value)})`),
  samples: [{ inputs: {}, attributes: { shape: [2, 3], value: -1.5 }, expect: () => Array(6).fill(-1.5) }],
});
