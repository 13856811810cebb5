import { defineOp } from "../graph/op.ts";
import { reshape, type Tensor } from "../graph/tensor.ts";
import { elementCount, type Shape } from "../graph/types.ts";
import { broadcastTo } from "./broadcast_to.ts";
import { scale } from "./scale.ts";
import { binding, divide, enables, grid, modulo, widen } from "./kernels/wgsl.ts";

/**
 * Sums the middle axis of `[outer, length, inner]`: one invocation an output element, terms added in order.
 *
 * @returns `[outer, inner]`
 */
export const reduceSum = defineOp({
  name: "reduce_sum",
  inputs: ["x"],
  type: ({ x }) => {
    if (x.shape.length !== 3) throw new TypeError(`x is [${x.shape.join(", ")}], wanted [outer, length, inner]`);
    return { shape: [x.shape[0], x.shape[2]], dtype: "f32" };
  },
  kernel: ({ inputs: { x }, output, target }) => {
    const [outer, length, inner] = x.shape;
    const lines = grid(outer * inner, target);
    return {
      workgroups: lines.workgroups,
      wgsl: `${enables([x])}
${binding(0, "x", x.dtype, "read")}
${binding(1, "result", output.dtype, "read_write")}
const COUNT = ${outer * inner}u;
const LENGTH = ${length}u;
const INNER = ${inner}u;

${lines.attribute}
fn main(${lines.parameters}) {
  ${lines.index}
  if (i >= COUNT) { return; }
  let first = ${divide("i", inner)} * (LENGTH * INNER) + ${modulo("i", inner)};
  var sum = 0.0;
  for (var k = 0u; k < LENGTH; k++) { sum += ${widen(x.dtype, "x[first + k * INNER]")}; }
  result[i] = sum;
}
`,
    };
  },
  // dx[o, l, i] = dy[o, i]
  gradient: (dy, { x }) => ({ x: broadcastTo(reshape(dy, [x.shape[0], 1, x.shape[2]]), { shape: x.shape }) }),
  samples: [
    { inputs: { x: [1, 7, 1] }, expect: (x) => [x.reduce((a, b) => a + b)] },
    { inputs: { x: [2, 3, 1] }, expect: (x) => [x[0] + x[1] + x[2], x[3] + x[4] + x[5]] },
    { inputs: { x: [1, 2, 3] }, expect: (x) => [x[0] + x[3], x[1] + x[4], x[2] + x[5]] },
  ],
});

/** Terms that one invocation adds before a second stage takes over. */
const stageLength = 256;

/**
 * Sum over some axes. Long sums are taken in two or more stages, in a fixed order, so results repeat bit for bit.
 *
 * @param axes Axes to sum, such as `[1, 2]`; all of them when left out.
 * @returns The remaining axes' shape; `[]` when none remain.
 */
export function sum(x: Tensor, axes: readonly number[] = x.shape.map((_, axis) => axis)): Tensor {
  const kept = x.shape.filter((_, axis) => !axes.includes(axis));
  // From the last axis to the first; neighbours are summed together.
  let shape = [...x.shape], result = x;
  for (let last = shape.length - 1; last >= 0; last--) {
    if (!axes.includes(last)) continue;
    let first = last;
    while (first > 0 && axes.includes(first - 1)) first--;
    const outer = elementCount(shape.slice(0, first)), inner = elementCount(shape.slice(last + 1));
    result = sumMiddle(result, outer, elementCount(shape.slice(first, last + 1)), inner);
    shape = [...shape.slice(0, first), ...shape.slice(last + 1)];
    last = first;
  }
  return reshape(result, kept);
}

function sumMiddle(x: Tensor, outer: number, length: number, inner: number): Tensor {
  while (length > stageLength) {
    const parts = divisorNear(length, Math.ceil(length / stageLength));
    if (parts === 1 || parts === length) break;
    x = reduceSum(reshape(x, [outer * parts, length / parts, inner]));
    length = parts;
  }
  return reduceSum(reshape(x, [outer, length, inner]));
}

/** The smallest divisor of `n` that is at least `wanted`. */
function divisorNear(n: number, wanted: number): number {
  for (let d = wanted; d * d <= n * wanted && d <= n; d++) if (n % d === 0) return d;
  return 1;
}

/** Sums a gradient back to the shape of an input that was broadcast. */
export function sumTo(x: Tensor, shape: Shape): Tensor {
  const shift = x.shape.length - shape.length;
  const axes = x.shape.map((_, axis) => axis).filter((axis) =>
    axis < shift || (shape[axis - shift] === 1 && x.shape[axis] !== 1)
  );
  return reshape(axes.length ? sum(x, axes) : x, shape);
}

/** Mean over some axes; all of them when left out. */
export function mean(x: Tensor, axes: readonly number[] = x.shape.map((_, axis) => axis)): Tensor {
  const total = sum(x, axes);
  return scale(total, { factor: elementCount(total.shape) / elementCount(x.shape) });
}
