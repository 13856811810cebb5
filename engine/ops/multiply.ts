import { defineOp, type Gradients } from "../graph/op.ts";
import { broadcastType, elementwise } from "./kernels/elementwise.ts";

/** `a * b`; the smaller shape broadcasts. */
export const multiply = defineOp({
  name: "multiply",
  inputs: ["a", "b"],
  type: broadcastType,
  kernel: elementwise("a * b"),
  // d(ab) = b da + a db
  gradient: (dy, { a, b }, { wants }): Gradients => ({
    a: wants.a ? multiply(dy, b) : null,
    b: wants.b ? multiply(dy, a) : null,
  }),
  samples: [
    { inputs: { a: [2, 3], b: [2, 3] }, expect: (a, b) => a.map((v, i) => v * b[i]) },
    { inputs: { a: [7, 33], b: [1] }, expect: (a, b) => a.map((v) => v * b[0]) },
  ],
});
