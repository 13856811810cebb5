import { defineOp, type Gradients } from "../graph/op.ts";
import { geluWgsl } from "./kernels/activations.ts";
import { broadcastType, elementwise } from "./kernels/elementwise.ts";

const geluGradient = defineOp({
  name: "gelu_gradient",
  inputs: ["x", "dy"],
  type: broadcastType,
  kernel: elementwise("dy * geluSlope(x)", geluWgsl),
  samples: [],
});

/** `x·Φ(x)` with the normal distribution function Φ itself, not its tanh approximation. */
export const gelu = defineOp({
  name: "gelu",
  narrows: 1,
  inputs: ["x"],
  type: ({ x }) => ({ shape: x.shape, dtype: "f32" }),
  kernel: elementwise("gelu(x)", geluWgsl),
  // dx = (Φ(x) + x·φ(x)) dy
  gradient: (dy, { x }): Gradients => ({ x: geluGradient(x, dy) }),
  samples: [
    { inputs: { x: [7, 33] }, range: [-6, 6], tolerance: 1e-6, expect: (x) => x.map(geluOf) },
    { inputs: { x: [64] }, range: [-0.5, 0.5], tolerance: 1e-6, expect: (x) => x.map(geluOf) },
    // The lower tail alone: small outputs keep their relative accuracy.
    { inputs: { x: [64] }, range: [-4, -3], tolerance: 1e-6, expect: (x) => x.map(geluOf) },
  ],
});

/** GELU by the series of erf: `2/√π · Σ (−1)ⁿ z²ⁿ⁺¹ / (n! (2n+1))`, good to 1e-11 for |x| up to 6. */
export function geluOf(x: number): number {
  const z = x / Math.SQRT2;
  let term = z, sum = z;
  for (let n = 1; n < 120; n++) {
    term *= -z * z / n;
    sum += term / (2 * n + 1);
  }
  return Math.abs(x) > 8 ? Math.max(x, 0) : x * (0.5 + sum / Math.sqrt(Math.PI));
}
