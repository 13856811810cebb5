import { defineOp, type Gradients } from "../graph/op.ts";
import { siluWgsl } from "./kernels/activations.ts";
import { broadcastType, elementwise } from "./kernels/elementwise.ts";

const quickGeluGradient = defineOp({
  name: "quick_gelu_gradient",
  inputs: ["x", "dy"],
  type: broadcastType,
  kernel: elementwise("dy * siluSlope(1.702 * x)", siluWgsl),
  samples: [],
});

/** `x·σ(1.702·x)`: the approximation of GELU that CLIP was trained with. */
export const quickGelu = defineOp({
  name: "quick_gelu",
  narrows: 1,
  inputs: ["x"],
  type: ({ x }) => ({ shape: x.shape, dtype: "f32" }),
  kernel: elementwise("x * sigmoid(1.702 * x)", siluWgsl),
  // With z = 1.702x: y = silu(z) / 1.702, so dx = silu'(z) dy
  gradient: (dy, { x }): Gradients => ({ x: quickGeluGradient(x, dy) }),
  samples: [
    { inputs: { x: [7, 3] }, range: [-8, 8], expect: (x) => x.map((v) => v / (1 + Math.exp(-1.702 * v))) },
    { inputs: { x: [3, 32] }, range: [-8, 8], expect: (x) => x.map((v) => v / (1 + Math.exp(-1.702 * v))) },
  ],
});
