import { defineOp } from "../graph/op.ts";
import { broadcastType, elementwise } from "./kernels/elementwise.ts";

/** 1 where `a > b`, 0 elsewhere; the smaller shape broadcasts. Its gradient is zero. */
export const greater = defineOp({
  name: "greater",
  inputs: ["a", "b"],
  type: broadcastType,
  kernel: elementwise("select(V(0.0), V(1.0), a > b)"),
  gradient: () => ({ a: null, b: null }),
  samples: [
    { inputs: { a: [7, 3], b: [3] }, expect: (a, b) => a.map((v, i) => v > b[i % 3] ? 1 : 0) },
    { inputs: { a: [32], b: [1] }, expect: (a, b) => a.map((v) => v > b[0] ? 1 : 0) },
  ],
});
