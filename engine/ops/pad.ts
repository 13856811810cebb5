import { defineOp, type Gradients } from "../graph/op.ts";
import { elementCount, typeText } from "../graph/types.ts";
import { binding, divide, enables, grid, modulo, vectorType, vectorWidth } from "./kernels/wgsl.ts";
import { slice } from "./slice.ts";

/** How many zeros go where. */
export interface PadAttributes {
  readonly axis: number;
  readonly before: number;
  readonly after: number;
}

/** Zeros before and after `x` along one axis. */
export const pad = defineOp<readonly ["x"], PadAttributes>({
  name: "pad",
  inputs: ["x"],
  type: ({ x }, { axis, before, after }) => {
    if (!(axis in x.shape) || before < 0 || after < 0) {
      throw new TypeError(`x is ${typeText(x)}, wanted ${before} and ${after} zeros around axis ${axis}`);
    }
    return { shape: x.shape.map((size, place) => place === axis ? before + size + after : size), dtype: x.dtype };
  },
  kernel: ({ inputs: { x }, output, attributes: { axis, before }, target }) => {
    const inner = elementCount(x.shape.slice(axis + 1));
    const sizes = [inner * output.shape[axis], inner * before, inner * x.shape[axis]], width = vectorWidth(...sizes);
    const [all, first, kept] = sizes.map((size) => size / width);
    const count = elementCount(output.shape) / width, lines = grid(count, target, 128);
    const type = vectorType(x.dtype, width);
    return {
      workgroups: lines.workgroups,
      wgsl: `${enables([x])}
${binding(0, "x", type, "read")}
${binding(1, "result", type, "read_write")}
const COUNT = ${count}u;
const FIRST = ${first}u;
const KEPT = ${kept}u;

${lines.attribute}
fn main(${lines.parameters}) {
  ${lines.index}
  if (i >= COUNT) { return; }
  let unit = ${modulo("i", all, count)};
  if (unit >= FIRST && unit < FIRST + KEPT) {
    result[i] = x[${divide("i", all, count)} * KEPT + unit - FIRST];
  } else {
    result[i] = ${type}(0);
  }
}
`,
    };
  },
  // dx = the part of dy that lies where x was
  gradient: (dy, { x }, { attributes: { axis, before } }): Gradients => ({
    x: slice(dy, { axis, start: before, length: x.shape[axis] }),
  }),
  samples: [
    {
      inputs: { x: [7] },
      attributes: { axis: 0, before: 3, after: 1 },
      expect: (x) => [0, 0, 0, ...x, 0],
    },
    {
      inputs: { x: [3, 4] },
      attributes: { axis: 1, before: 4, after: 8 },
      expect: (x) => Array.from({ length: 48 }, (_, i) => i % 16 >= 4 && i % 16 < 8 ? x[(i >> 4) * 4 + i % 16 - 4] : 0),
    },
  ],
});
