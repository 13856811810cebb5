import { defineOp, type Gradients } from "../graph/op.ts";
import { broadcastType, elementwise } from "./kernels/elementwise.ts";
import { float } from "./kernels/wgsl.ts";

/** Bounds of a clamp. */
export interface ClampAttributes {
  readonly low: number;
  readonly high: number;
}

const clampGradient = defineOp<readonly ["x", "dy"], ClampAttributes>({
  name: "clamp_gradient",
  inputs: ["x", "dy"],
  type: broadcastType,
  kernel: elementwise(({ low, high }) => `select(V(0.0), dy, (x >= V(${float(low)})) & (x <= V(${float(high)})))`),
  samples: [],
});

/** `x` held between `low` and `high`. */
export const clamp = defineOp<readonly ["x"], ClampAttributes>({
  name: "clamp",
  inputs: ["x"],
  type: ({ x }) => ({ shape: x.shape, dtype: "f32" }),
  kernel: elementwise(({ low, high }) => `clamp(x, V(${float(low)}), V(${float(high)}))`),
  // dx = dy where low ≤ x ≤ high, 0 elsewhere
  gradient: (dy, { x }, { attributes }): Gradients => ({ x: clampGradient(x, dy, attributes) }),
  samples: [
    {
      inputs: { x: [7, 3] },
      attributes: { low: -0.5, high: 0.25 },
      expect: (x) => x.map((v) => Math.min(0.25, Math.max(-0.5, v))),
    },
    {
      inputs: { x: [32] },
      attributes: { low: -30, high: 20 },
      range: [-40, 40],
      expect: (x) => x.map((v) => Math.min(20, Math.max(-30, v))),
    },
  ],
});
