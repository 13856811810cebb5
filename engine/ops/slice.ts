import { defineOp, type Gradients } from "../graph/op.ts";
import { elementCount, type TensorType, typeText } from "../graph/types.ts";
import { buffers, copiedIn, Stored } from "./kernels/storage.ts";
import { divide, grid, modulo, vectorWidth } from "./kernels/wgsl.ts";
import { pad } from "./pad.ts";

/** Which part of an axis. */
export interface SliceAttributes {
  readonly axis: number;
  readonly start: number;
  readonly length: number;
}

/** Elements that lie side by side from the axis on: of all, before the part, and in it. */
function rowSizes({ shape }: TensorType, { axis, start, length }: SliceAttributes): number[] {
  const inner = elementCount(shape.slice(axis + 1));
  return [inner * shape[axis], inner * start, inner * length];
}

/** `length` neighbours along one axis, from `start` on. */
export const slice = defineOp<readonly ["x"], SliceAttributes>({
  name: "slice",
  inputs: ["x"],
  type: ({ x }, { axis, start, length }) => {
    if (!(axis in x.shape) || !(start >= 0 && length > 0 && start + length <= x.shape[axis])) {
      throw new TypeError(`x is ${typeText(x)}, wanted ${start} to ${start + length} along axis ${axis}`);
    }
    const dtype = copiedIn(x.dtype, vectorWidth(...rowSizes(x, { axis, start, length })));
    return { shape: x.shape.map((size, place) => place === axis ? length : size), dtype };
  },
  kernel: ({ inputs: { x }, output, attributes: { axis, start, length }, target }) => {
    const sizes = rowSizes(x, { axis, start, length }), width = vectorWidth(...sizes);
    const [all, first, kept] = sizes.map((size) => size / width);
    const count = elementCount(output.shape) / width, lines = grid(count, target, 128);
    const whole = new Stored("x", x, width, target), result = new Stored("result", output, width, target);
    const from = `${divide("i", kept, count)} * ALL + FIRST + ${modulo("i", kept, count)}`;
    return {
      workgroups: lines.workgroups,
      wgsl: `${buffers([whole], [result])}
const COUNT = ${count}u;
const ALL = ${all}u;
const FIRST = ${first}u;

${lines.attribute}
fn main(${lines.parameters}) {
  ${lines.index}
  if (i >= COUNT) { return; }
  ${result.store("i", whole.load(from))}
}
`,
    };
  },
  // dx = dy at its place, zeros around
  gradient: (dy, { x }, { attributes: { axis, start, length } }): Gradients => ({
    x: pad(dy, { axis, before: start, after: x.shape[axis] - start - length }),
  }),
  samples: [
    { inputs: { x: [33] }, attributes: { axis: 0, start: 7, length: 3 }, expect: (x) => x.slice(7, 10) },
    {
      inputs: { x: [3, 12] },
      attributes: { axis: 1, start: 4, length: 8 },
      expect: (x) => x.filter((_, i) => i % 12 >= 4),
    },
    {
      inputs: { x: { shape: [2, 7, 3], dtype: "f16" } },
      attributes: { axis: 1, start: 2, length: 4 },
      expect: (x) => x.filter((_, i) => i % 21 >= 6 && i % 21 < 18),
    },
  ],
});
