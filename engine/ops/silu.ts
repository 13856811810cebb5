import { defineOp, type Gradients } from "../graph/op.ts";
import { siluWgsl } from "./kernels/activations.ts";
import { broadcastType, elementwise } from "./kernels/elementwise.ts";

/** `σ(x)·(1 + x·(1 − σ(x)))·dy`: the gradient of SiLU. */
export const siluGradient = defineOp({
  name: "silu_gradient",
  inputs: ["x", "dy"],
  type: broadcastType,
  kernel: elementwise("dy * siluSlope(x)", siluWgsl),
  samples: [{
    inputs: { x: [7, 3], dy: [7, 3] },
    expect: (x, dy) =>
      x.map((v, i) => {
        const s = 1 / (1 + Math.exp(-v));
        return dy[i] * s * (1 + v * (1 - s));
      }),
  }],
});

/** `x·σ(x)`, also called swish. */
export const silu = defineOp({
  name: "silu",
  narrows: 1,
  inputs: ["x"],
  type: ({ x }) => ({ shape: x.shape, dtype: "f32" }),
  kernel: elementwise("silu(x)", siluWgsl),
  // dx = σ(x)·(1 + x·(1 − σ(x))) dy
  gradient: (dy, { x }): Gradients => ({ x: siluGradient(x, dy) }),
  samples: [
    { inputs: { x: [7, 3] }, range: [-8, 8], expect: (x) => x.map((v) => v / (1 + Math.exp(-v))) },
    { inputs: { x: [3, 32] }, range: [-8, 8], expect: (x) => x.map((v) => v / (1 + Math.exp(-v))) },
  ],
});
