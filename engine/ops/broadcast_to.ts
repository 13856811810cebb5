import { defineOp } from "../graph/op.ts";
import { broadcastShape, sameShape, type Shape } from "../graph/types.ts";
import { elementwise } from "./kernels/elementwise.ts";

/** Repeats `x` along its axes of size 1 and new leading axes until it has `shape`. */
export const broadcastTo = defineOp<readonly ["x"], { readonly shape: Shape }>({
  name: "broadcast_to",
  inputs: ["x"],
  type: ({ x }, { shape }) => {
    const joined = broadcastShape(x.shape, shape);
    if (!joined || !sameShape(joined, shape)) {
      throw new TypeError(`x is [${x.shape.join(", ")}], which does not broadcast to [${shape.join(", ")}]`);
    }
    return { shape, dtype: "f32" };
  },
  kernel: elementwise("x"),
  // The walk sums broadcast axes back.
  gradient: (dy) => ({ x: dy }),
  samples: [
    {
      inputs: { x: [2, 1, 3] },
      attributes: { shape: [2, 2, 3] },
      expect: (x) => [0, 1, 2, 0, 1, 2, 3, 4, 5, 3, 4, 5].map((i) => x[i]),
    },
    { inputs: { x: [1] }, attributes: { shape: [7, 33] }, expect: (x) => Array(231).fill(x[0]) },
  ],
});
