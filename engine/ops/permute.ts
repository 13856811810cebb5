import { defineOp, type Gradients } from "../graph/op.ts";
import { elementCount, type Shape, stridesOf, typeText } from "../graph/types.ts";
import { buffers, copiedIn, Stored } from "./kernels/storage.ts";
import { divide, grid, modulo, vectorWidth } from "./kernels/wgsl.ts";

/** WGSL of the element of the input, of these strides along the output's axes, that the output's element `i` is. */
function sourceIndex(shape: Shape, strides: readonly number[]): string {
  const own = stridesOf(shape), below = elementCount(shape);
  const terms = shape.flatMap((size, axis) => {
    if (size === 1) return [];
    const quotient = divide("i", own[axis], below);
    const place = elementCount(shape.slice(0, axis)) === 1 ? quotient : modulo(quotient, size, below);
    return [strides[axis] === 1 ? place : `${place} * ${strides[axis]}u`];
  });
  return terms.join(" + ") || "0u";
}

/** Axes in another order: axis `i` of the result is axis `order[i]` of `x`. */
export const permute = defineOp<readonly ["x"], { readonly order: readonly number[] }>({
  name: "permute",
  inputs: ["x"],
  type: ({ x }, { order }) => {
    if (order.length !== x.shape.length || x.shape.some((_, axis) => !order.includes(axis))) {
      throw new TypeError(`x is ${typeText(x)}, wanted as many axes as in the order [${order.join(", ")}]`);
    }
    const shape = order.map((axis) => x.shape[axis]);
    return { shape, dtype: copiedIn(x.dtype, vectorWidth(shape.at(-1) ?? 1)) };
  },
  kernel: ({ inputs: { x }, output, attributes: { order }, target }) => {
    const last = order.length - 1, keepsLast = order[last] === last;
    const width = vectorWidth(output.shape[last] ?? 1);
    // Four neighbours of the result: one vector of x where the last axis stays, else four elements of it, gathered.
    const read = keepsLast ? width : 1;
    const from = new Stored("x", x, read, target), result = new Stored("result", output, width, target);
    const units = output.shape.map((size, axis) => axis === last ? size / width : size);
    const strides = stridesOf(x.shape);
    const steps = order.map((axis, place) => {
      if (place === last) return keepsLast ? 1 : strides[axis] * width;
      return strides[axis] / read;
    });
    const apart = strides[order[last]] ?? 1;
    const values = read === width
      ? from.load("source")
      : `${result.type}(${
        Array.from({ length: width }, (_, part) => from.load(`source + ${part * apart}u`)).join(", ")
      })`;
    const lines = grid(elementCount(units), target, 128);
    return {
      workgroups: lines.workgroups,
      wgsl: `${buffers([from], [result])}
const COUNT = ${elementCount(units)}u;

${lines.attribute}
fn main(${lines.parameters}) {
  ${lines.index}
  if (i >= COUNT) { return; }
  let source = ${sourceIndex(units, steps)};
  ${result.store("i", values)}
}
`,
    };
  },
  // dx = dy in the opposite order
  gradient: (dy, _, { attributes: { order } }): Gradients => ({
    x: permute(dy, { order: order.map((_, axis) => order.indexOf(axis)) }),
  }),
  samples: [
    sample([3, 7], [1, 0]),
    sample([4, 33], [1, 0]),
    sample([2, 3, 5, 8], [0, 2, 1, 3]),
    sample([2, 3, 7, 4], [0, 3, 1, 2]),
    sample([2, 3, 1, 7], [2, 1, 3, 0]),
    sample([33], [0]),
  ],
});

function sample(shape: number[], order: number[]) {
  return {
    inputs: { x: shape },
    attributes: { order },
    expect: (x: number[]): number[] => {
      const strides = stridesOf(shape), sizes = order.map((axis) => shape[axis]), own = stridesOf(sizes);
      return x.map((_, i) =>
        x[order.reduce((from, axis, place) => from + Math.floor(i / own[place]) % sizes[place] * strides[axis], 0)]
      );
    },
  };
}
