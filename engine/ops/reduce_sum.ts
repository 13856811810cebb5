import type { Kernel, KernelTarget } from "../graph/kernel.ts";
import { defineOp } from "../graph/op.ts";
import { reshape, type Tensor } from "../graph/tensor.ts";
import { elementCount, type Shape, type TensorType } from "../graph/types.ts";
import { broadcastTo } from "./broadcast_to.ts";
import { acrossVector, reduction } from "./kernels/reduction.ts";
import { buffers, Stored } from "./kernels/storage.ts";
import { divide, grid, modulo, vectorType, vectorWidth } from "./kernels/wgsl.ts";
import { scale } from "./scale.ts";
import { slice } from "./slice.ts";

/** How the summed axis is cut. */
export interface ReduceSumAttributes {
  /** Terms of one sum; the last of a row may have fewer. The whole axis when left out. */
  readonly chunk?: number;
}

/** Terms from which the invocations of a workgroup share a sum of neighbours. */
const sharedLength = 64;

/** WGSL of one sum of neighbours, from all invocations of a workgroup. */
function sharedKernel(x: TensorType, outer: number, length: number, chunk: number, target: KernelTarget): Kernel {
  const width = vectorWidth(length, chunk), parts = Math.ceil(length / chunk), count = outer * parts;
  const { workgroupSize, functions } = reduction(target, chunk / width, ["reduceSum"]);
  const across = Math.min(count, target.maxWorkgroupsPerDimension);
  const terms = new Stored("x", x, width, target), result = new Stored("result", { dtype: "f32" }, 1, target);
  return {
    workgroups: [across, Math.ceil(count / across), 1],
    wgsl: `${buffers([terms], [result])}
alias V = ${vectorType("f32", width)};
const COUNT = ${count}u;
const LENGTH = ${length / width}u;
const CHUNK = ${chunk / width}u;
${functions}

@compute @workgroup_size(${workgroupSize})
fn main(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3u) {
  let i = group.x + group.y * ${across}u;
  if (i >= COUNT) { return; }
  let row = ${divide("i", parts)};
  let first = ${modulo("i", parts)} * CHUNK;
  let end = row * LENGTH + min(first + CHUNK, LENGTH);
  var sum = V(0.0);
  for (var at = row * LENGTH + first + lane; at < end; at += ${workgroupSize}u) { sum += ${terms.load("at")}; }
  let total = reduceSum(${acrossVector("sum", width)}, lane);
  if (lane == 0u) { ${result.store("i", "total")} }
}
`,
  };
}

/** WGSL of up to four sums side by side from one invocation. */
function columnKernel(x: TensorType, chunk: number, target: KernelTarget): Kernel {
  const [outer, length, inner] = x.shape, parts = Math.ceil(length / chunk);
  const width = vectorWidth(inner), units = inner / width, count = outer * parts * units;
  const lines = grid(count, target);
  const terms = new Stored("x", x, width, target), result = new Stored("result", { dtype: "f32" }, width, target);
  return {
    workgroups: lines.workgroups,
    wgsl: `${buffers([terms], [result])}
alias V = ${vectorType("f32", width)};
const COUNT = ${count}u;
const LENGTH = ${length}u;
const CHUNK = ${chunk}u;
const UNITS = ${units}u;

${lines.attribute}
fn main(${lines.parameters}) {
  ${lines.index}
  if (i >= COUNT) { return; }
  let part = ${divide("i", units)};
  let start = ${divide("part", parts)} * (LENGTH * UNITS) + ${modulo("i", units)};
  let first = ${modulo("part", parts)} * CHUNK;
  var sum = V(0.0);
  for (var k = first; k < min(first + CHUNK, LENGTH); k++) { sum += ${terms.load("start + k * UNITS")}; }
  ${result.store("i", "sum")}
}
`,
  };
}

/**
 * Sums the middle axis of `[outer, length, inner]`, whole or in chunks, always in the same order.
 *
 * @returns `[outer · chunks, inner]`
 */
export const reduceSum = defineOp<readonly ["x"], ReduceSumAttributes>({
  name: "reduce_sum",
  inputs: ["x"],
  type: ({ x }, { chunk = x.shape[1] }) => {
    if (x.shape.length !== 3) throw new TypeError(`x is [${x.shape.join(", ")}], wanted [outer, length, inner]`);
    return { shape: [x.shape[0] * Math.ceil(x.shape[1] / chunk), x.shape[2]], dtype: "f32" };
  },
  kernel: ({ inputs: { x }, attributes: { chunk = x.shape[1] }, target }) =>
    x.shape[2] === 1 && chunk >= sharedLength
      ? sharedKernel(x, x.shape[0], x.shape[1], chunk, target)
      : columnKernel(x, chunk, target),
  // dx[o, l, i] = dy[o, the chunk of l, i]
  gradient: (dy, { x }, { attributes: { chunk = x.shape[1] } }) => {
    const [outer, length, inner] = x.shape, parts = Math.ceil(length / chunk);
    const repeated = broadcastTo(reshape(dy, [outer, parts, 1, inner]), { shape: [outer, parts, chunk, inner] });
    const rows = reshape(repeated, [outer, parts * chunk, inner]);
    return { x: parts * chunk === length ? rows : slice(rows, { axis: 1, start: 0, length }) };
  },
  samples: [
    { inputs: { x: [1, 7, 1] }, expect: (x) => [x.reduce((a, b) => a + b)] },
    { inputs: { x: [2, 3, 1] }, expect: (x) => [x[0] + x[1] + x[2], x[3] + x[4] + x[5]] },
    { inputs: { x: [1, 2, 3] }, expect: (x) => [x[0] + x[3], x[1] + x[4], x[2] + x[5]] },
    sample([3, 77, 1]),
    sample([2, 1000, 1], 128),
    sample([1, 333, 1], 100),
    sample([2, 33, 8], 7),
    sample([2, 33, 3], 32),
  ],
});

function sample(shape: [number, number, number], chunk?: number) {
  const [outer, length, inner] = shape, parts = Math.ceil(length / (chunk ?? length));
  return {
    inputs: { x: shape },
    attributes: { chunk },
    expect: (x: number[]): number[] => {
      const sums: number[] = Array(outer * parts * inner).fill(0);
      x.forEach((v, i) => {
        const row = Math.floor(i / (length * inner)),
          part = Math.floor(Math.floor(i / inner) % length / (chunk ?? length));
        sums[(row * parts + part) * inner + i % inner] += v;
      });
      return sums;
    },
  };
}

/** Sums longer than this are taken in stages, if there are too few of them to keep a GPU busy. */
const stageLength = 256;
/** Terms of one sum of neighbours in the first stage. */
const neighboursChunk = 4096;
/** Invocations that keep a GPU busy. */
const busyInvocations = 4096;

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
    const chunk = inner === 1
      ? (outer < 32 ? neighboursChunk : length)
      : 4 * Math.ceil(Math.max(16, length * outer * (inner / vectorWidth(inner)) / busyInvocations) / 4);
    if (chunk >= length) break;
    x = reduceSum(reshape(x, [outer, length, inner]), { chunk });
    length = Math.ceil(length / chunk);
  }
  return reduceSum(reshape(x, [outer, length, inner]));
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
