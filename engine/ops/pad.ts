import { defineOp, type Gradients } from "../graph/op.ts";
import { elementCount, type TensorType, typeText } from "../graph/types.ts";
import { buffers, copiedIn, Stored } from "./kernels/storage.ts";
import { divide, grid, modulo, vectorWidth } from "./kernels/wgsl.ts";
import { slice } from "./slice.ts";

/** How many zeros go where. */
export interface PadAttributes {
  readonly axis: number;
  readonly before: number;
  readonly after: number;
}

/** Elements that lie side by side from the axis on: of all, before the part, and in it. */
function rowSizes({ shape }: TensorType, { axis, before, after }: PadAttributes): number[] {
  const inner = elementCount(shape.slice(axis + 1));
  return [inner * (before + shape[axis] + after), inner * before, inner * shape[axis]];
}

/** Zeros before and after `x` along one axis. */
export const pad = defineOp<readonly ["x"], PadAttributes>({
  name: "pad",
  inputs: ["x"],
  type: ({ x }, { axis, before, after }) => {
    if (!(axis in x.shape) || before < 0 || after < 0) {
      throw new TypeError(`x is ${typeText(x)}, wanted ${before} and ${after} zeros around axis ${axis}`);
    }
    const dtype = copiedIn(x.dtype, vectorWidth(...rowSizes(x, { axis, before, after })));
    return { shape: x.shape.map((size, place) => place === axis ? before + size + after : size), dtype };
  },
  kernel: ({ inputs: { x }, output, attributes, target }) => {
    const sizes = rowSizes(x, attributes), width = vectorWidth(...sizes);
    const [all, first, kept] = sizes.map((size) => size / width);
    const count = elementCount(output.shape) / width, lines = grid(count, target, 128);
    const part = new Stored("x", x, width, target), result = new Stored("result", output, width, target);
    return {
      workgroups: lines.workgroups,
      wgsl: `${buffers([part], [result])}
const COUNT = ${count}u;
const FIRST = ${first}u;
const KEPT = ${kept}u;

${lines.attribute}
fn main(${lines.parameters}) {
  ${lines.index}
  if (i >= COUNT) { return; }
  let unit = ${modulo("i", all, count)};
  if (unit >= FIRST && unit < FIRST + KEPT) {
    ${result.store("i", part.load(`${divide("i", all, count)} * KEPT + unit - FIRST`))}
  } else {
    ${result.store("i", `${result.type}()`)}
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
