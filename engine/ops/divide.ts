import { defineOp, type Gradients } from "../graph/op.ts";
import { broadcastType, elementwise } from "./kernels/elementwise.ts";
import { multiply } from "./multiply.ts";
import { scale } from "./scale.ts";

/** `a / b`; the smaller shape broadcasts. */
export const divide = defineOp({
  name: "divide",
  inputs: ["a", "b"],
  type: broadcastType,
  kernel: elementwise("a / b"),
  // d(a/b) = da / b - (a/b) db / b
  gradient: (dy, { b }, { output, wants }): Gradients => {
    const a = divide(dy, b);
    return { a, b: wants.b ? scale(multiply(a, output), { factor: -1 }) : null };
  },
  samples: [
    { inputs: { a: [2, 3], b: [2, 3] }, range: [0.5, 2], expect: (a, b) => a.map((v, i) => v / b[i]) },
    { inputs: { a: [7, 33], b: [7, 1] }, range: [-2, -0.5], expect: (a, b) => a.map((v, i) => v / b[i / 33 | 0]) },
  ],
});
