import { defineOp } from "../graph/op.ts";
import { elementCount, sameShape, typeText } from "../graph/types.ts";
import { binding, grid } from "./kernels/wgsl.ts";

/** Overwrites a variable: `total = keep · total + x`; `keep: 0` stores x. */
export const accumulate = defineOp<readonly ["total", "x"], { readonly keep: 0 | 1 }>({
  name: "accumulate",
  inputs: ["total", "x"],
  overwrites: 1,
  type: ({ total, x }) => {
    if (!sameShape(total.shape, x.shape)) {
      throw new TypeError(`shapes differ: total is [${total.shape.join(", ")}], x is [${x.shape.join(", ")}]`);
    }
    if (x.dtype !== "f32") throw new TypeError(`x is ${typeText(x)}, wanted f32`);
    return { shape: total.shape, dtype: "f32" };
  },
  kernel: ({ inputs: { total }, attributes: { keep }, target }) => {
    const count = elementCount(total.shape), lines = grid(count, target);
    return {
      workgroups: lines.workgroups,
      wgsl: `${binding(0, "total", "f32", "read_write")}
${binding(1, "x", "f32", "read")}
const COUNT = ${count}u;

${lines.attribute}
fn main(${lines.parameters}) {
  ${lines.index}
  if (i >= COUNT) { return; }
  total[i] = ${keep ? "total[i] + x[i]" : "x[i]"};
}
`,
    };
  },
  samples: [
    { inputs: { total: [33], x: [33] }, attributes: { keep: 1 }, expect: (total, x) => total.map((v, i) => v + x[i]) },
    { inputs: { total: [33], x: [33] }, attributes: { keep: 0 }, expect: (_, x) => x },
  ],
});
