import { defineOp } from "../graph/op.ts";
import { broadcastType, elementwise } from "./kernels/elementwise.ts";

/** `a + b`; the smaller shape broadcasts. */
export const add = defineOp({
  name: "add",
  narrows: 1,
  inputs: ["a", "b"],
  type: broadcastType,
  kernel: elementwise("a + b"),
  gradient: (dy) => ({ a: dy, b: dy }),
  samples: [
    { inputs: { a: [2, 3], b: [2, 3] }, expect: (a, b) => a.map((v, i) => v + b[i]) },
    { inputs: { a: [7, 33], b: [33] }, expect: (a, b) => a.map((v, i) => v + b[i % 33]) },
    {
      inputs: { a: [3, 1, 5], b: [2, 1] },
      expect: (a, b) => range(30).map((i) => a[(i / 10 | 0) * 5 + i % 5] + b[(i / 5 | 0) % 2]),
    },
  ],
});

const range = (count: number) => Array.from({ length: count }, (_, i) => i);
