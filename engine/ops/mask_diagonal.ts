import { defineOp, type Gradients } from "../graph/op.ts";
import { elementCount } from "../graph/types.ts";
import { buffers, Stored } from "./kernels/storage.ts";
import { grid } from "./kernels/wgsl.ts";

/** Zeroes a batch of square matrices on the diagonal (`keep: "rest"`, x ⊙ (1 − I)) or off it (`keep: "diagonal"`, x ⊙ I). */
export const maskDiagonal = defineOp<readonly ["x"], { readonly keep: "diagonal" | "rest" }>({
  name: "mask_diagonal",
  inputs: ["x"],
  type: ({ x }) => {
    const [rows, columns] = x.shape.slice(-2);
    if (x.shape.length < 2 || rows !== columns) {
      throw new TypeError(`x is [${x.shape.join(", ")}], wanted square matrices [..., n, n]`);
    }
    return { shape: x.shape, dtype: "f32" };
  },
  kernel: ({ inputs: { x }, output, attributes: { keep }, target }) => {
    const n = x.shape[x.shape.length - 1], count = elementCount(x.shape), lines = grid(count, target);
    const matrix = new Stored("x", x, 1, target), result = new Stored("result", output, 1, target);
    return {
      workgroups: lines.workgroups,
      wgsl: `${buffers([matrix], [result])}
const COUNT = ${count}u;
const N = ${n}u;

${lines.attribute}
fn main(${lines.parameters}) {
  ${lines.index}
  if (i >= COUNT) { return; }
  let place = i % (N * N);
  let diagonal = place / N == place % N;
  ${result.store("i", `select(0.0, ${matrix.load("i")}, ${keep === "diagonal" ? "diagonal" : "!diagonal"})`)}
}
`,
    };
  },
  // The mask is linear and its own transpose.
  gradient: (dy, _, { attributes }): Gradients => ({ x: maskDiagonal(dy, attributes) }),
  samples: [
    { inputs: { x: [2, 3, 3] }, attributes: { keep: "rest" }, expect: (x) => x.map((v, i) => i % 9 % 4 ? v : 0) },
    { inputs: { x: [1, 1] }, attributes: { keep: "rest" }, expect: () => [0] },
    { inputs: { x: [7, 7] }, attributes: { keep: "diagonal" }, expect: (x) => x.map((v, i) => i % 8 ? 0 : v) },
  ],
});
