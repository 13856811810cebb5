import { defineOp, type Gradients } from "../graph/op.ts";
import { elementCount, type TensorType, typeText } from "../graph/types.ts";
import { buffers, copiedIn, Stored } from "./kernels/storage.ts";
import { divide, grid, modulo, vectorWidth } from "./kernels/wgsl.ts";
import { slice } from "./slice.ts";

/** Sizes of both inputs' rows, a row being all that lies side by side from the axis on. */
function rowSizes(a: TensorType, b: TensorType, axis: number) {
  return { sizeA: elementCount(a.shape.slice(axis)), sizeB: elementCount(b.shape.slice(axis)) };
}

/** `a`, then `b`, along one axis; the other axes' sizes are the same. */
export const concat = defineOp<readonly ["a", "b"], { readonly axis: number }>({
  name: "concat",
  inputs: ["a", "b"],
  type: ({ a, b }, { axis }) => {
    const fits = a.dtype === b.dtype && a.shape.length === b.shape.length && axis in a.shape &&
      a.shape.every((size, place) => place === axis || size === b.shape[place]);
    if (!fits) {
      throw new TypeError(`shapes differ: a is ${typeText(a)}, b is ${typeText(b)}, joined along axis ${axis}`);
    }
    const { sizeA, sizeB } = rowSizes(a, b, axis), dtype = copiedIn(a.dtype, vectorWidth(sizeA, sizeB));
    return { shape: a.shape.map((size, place) => place === axis ? size + b.shape[axis] : size), dtype };
  },
  kernel: ({ inputs: { a, b }, output, attributes: { axis }, target }) => {
    const { sizeA, sizeB } = rowSizes(a, b, axis), width = vectorWidth(sizeA, sizeB);
    const unitsA = sizeA / width, unitsB = sizeB / width, all = unitsA + unitsB;
    const count = elementCount(output.shape) / width, lines = grid(count, target, 128);
    const left = new Stored("a", a, width, target), right = new Stored("b", b, width, target);
    const result = new Stored("result", output, width, target);
    return {
      workgroups: lines.workgroups,
      wgsl: `${buffers([left, right], [result])}
const COUNT = ${count}u;
const UNITS_A = ${unitsA}u;
const UNITS_B = ${unitsB}u;

${lines.attribute}
fn main(${lines.parameters}) {
  ${lines.index}
  if (i >= COUNT) { return; }
  let row = ${divide("i", all, count)};
  let unit = ${modulo("i", all, count)};
  if (unit < UNITS_A) {
    ${result.store("i", left.load("row * UNITS_A + unit"))}
  } else {
    ${result.store("i", right.load("row * UNITS_B + unit - UNITS_A"))}
  }
}
`,
    };
  },
  // Each input gets its own part of dy
  gradient: (dy, { a, b }, { attributes: { axis }, wants }): Gradients => ({
    a: wants.a ? slice(dy, { axis, start: 0, length: a.shape[axis] }) : null,
    b: wants.b ? slice(dy, { axis, start: a.shape[axis], length: b.shape[axis] }) : null,
  }),
  samples: [
    {
      inputs: { a: [2, 3, 4], b: [2, 3, 8] },
      attributes: { axis: 2 },
      expect: (a, b) => range(6).flatMap((row) => [...a.slice(4 * row, 4 * row + 4), ...b.slice(8 * row, 8 * row + 8)]),
    },
    {
      inputs: { a: [2, 3, 7], b: [2, 1, 7] },
      attributes: { axis: 1 },
      expect: (a, b) =>
        range(2).flatMap((row) => [...a.slice(21 * row, 21 * row + 21), ...b.slice(7 * row, 7 * row + 7)]),
    },
    { inputs: { a: [3], b: [33] }, attributes: { axis: 0 }, expect: (a, b) => [...a, ...b] },
  ],
});

const range = (count: number) => Array.from({ length: count }, (_, i) => i);
