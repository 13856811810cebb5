import { defineOp, type Gradients } from "../graph/op.ts";
import { fill } from "./fill.ts";
import { greater } from "./greater.ts";
import { broadcastType, elementwise } from "./kernels/elementwise.ts";
import { select } from "./select.ts";

/** The smaller of `a` and `b`; the smaller shape broadcasts. */
export const minimum = defineOp({
  name: "minimum",
  inputs: ["a", "b"],
  type: broadcastType,
  kernel: elementwise("min(a, b)"),
  // dy goes to the smaller one; to a where both are equal
  gradient: (dy, { a, b }, { wants }): Gradients => {
    const toB = greater(a, b), zero = fill({ shape: [], value: 0 });
    return { a: wants.a ? select(toB, zero, dy) : null, b: wants.b ? select(toB, dy, zero) : null };
  },
  samples: [
    { inputs: { a: [7, 3], b: [7, 3] }, expect: (a, b) => a.map((v, i) => Math.min(v, b[i])) },
    { inputs: { a: [3, 32], b: [1] }, expect: (a, b) => a.map((v) => Math.min(v, b[0])) },
  ],
});
