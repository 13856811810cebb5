import { defineOp, type Gradients } from "../graph/op.ts";
import { broadcastType, elementwise } from "./kernels/elementwise.ts";
import { fill } from "./fill.ts";

/** `a` where `condition` is not 0, `b` elsewhere; smaller shapes broadcast. */
export const select = defineOp({
  name: "select",
  inputs: ["condition", "a", "b"],
  type: broadcastType,
  kernel: elementwise("select(V(b), V(a), V(condition) != V(0.0))"),
  // da = dy where the condition holds, db = dy elsewhere; the condition only chooses
  gradient: (dy, { condition }, { wants }): Gradients => {
    const zero = () => fill({ shape: [], value: 0 });
    return {
      condition: null,
      a: wants.a ? select(condition, dy, zero()) : null,
      b: wants.b ? select(condition, zero(), dy) : null,
    };
  },
  samples: [
    {
      inputs: { condition: { shape: [7, 3], dtype: "u32" }, a: [7, 3], b: [1] },
      integersBelow: 2,
      expect: (condition, a, b) => condition.map((c, i) => c ? a[i] : b[0]),
    },
    {
      inputs: { condition: { shape: [3, 1], dtype: "i32" }, a: [3, 32], b: [32] },
      integersBelow: 2,
      expect: (condition, a, b) => a.map((v, i) => condition[i >> 5] ? v : b[i % 32]),
    },
  ],
});
