import { defineOp, type Gradients } from "../graph/op.ts";
import { rowKernel, rowType } from "./kernels/rows.ts";

const softmaxGradient = defineOp({
  name: "softmax_gradient",
  inputs: ["y", "dy"],
  type: ({ y }) => ({ shape: y.shape, dtype: "f32" }),
  kernel: ({ inputs: { y, dy }, output, target }) =>
    rowKernel(
      { target, output, rows: { y, dy } },
      (row) => [row.sum("total", "y * dy"), row.write("y * (dy - total)")],
    ),
  samples: [],
});

/** `exp(x) / Σ exp(x)` over the last axis; the row's maximum is taken off first, so nothing overflows. */
export const softmax = defineOp({
  name: "softmax",
  inputs: ["x"],
  type: rowType,
  kernel: ({ inputs: { x }, output, target }) =>
    rowKernel({ target, output, rows: { x } }, (row) => [
      row.max("largest", "x"),
      row.sum("total", "exp(x - largest)"),
      row.write("exp(x - largest) / total"),
    ]),
  // dx = y·(dy − Σ y·dy)
  gradient: (dy, _, { output }): Gradients => ({ x: softmaxGradient(output, dy) }),
  samples: [
    { inputs: { x: [3, 7] }, range: [-5, 5], expect: (x) => softmaxOf(x, 7) },
    { inputs: { x: [2, 3, 77] }, range: [-5, 5], expect: (x) => softmaxOf(x, 77) },
    { inputs: { x: [40, 64] }, range: [-5, 5], expect: (x) => softmaxOf(x, 64) },
    { inputs: { x: [2, 1032] }, range: [-5, 5], expect: (x) => softmaxOf(x, 1032) },
    { inputs: { x: [1, 1] }, expect: () => [1] },
  ],
});

/** Softmax by its definition, in f64. */
export function softmaxOf(x: number[], size: number): number[] {
  return Array.from({ length: x.length / size }, (_, row) => x.slice(row * size, row * size + size).map(Math.exp))
    .flatMap((row) => {
      const total = row.reduce((a, b) => a + b);
      return row.map((v) => v / total);
    });
}
