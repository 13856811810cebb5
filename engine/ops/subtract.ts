import { defineOp, type Gradients } from "../graph/op.ts";
import { broadcastType, elementwise } from "./kernels/elementwise.ts";
import { scale } from "./scale.ts";

/** `a - b`; the smaller shape broadcasts. */
export const subtract = defineOp({
  name: "subtract",
  inputs: ["a", "b"],
  type: broadcastType,
  kernel: elementwise("a - b"),
  // d(a - b) = da - db
  gradient: (dy, _, { wants }): Gradients => ({ a: dy, b: wants.b ? scale(dy, { factor: -1 }) : null }),
  samples: [
    { inputs: { a: [2, 3], b: [2, 3] }, expect: (a, b) => a.map((v, i) => v - b[i]) },
    { inputs: { a: [7, 32], b: [32] }, expect: (a, b) => a.map((v, i) => v - b[i % 32]) },
    { inputs: { a: [3, 1], b: [3, 8] }, expect: (a, b) => b.map((v, i) => a[i >> 3] - v) },
  ],
});
