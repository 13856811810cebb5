import { defineOp, type Gradients } from "../graph/op.ts";
import type { TensorType } from "../graph/types.ts";
import { binding, enables, grid, widen } from "./kernels/wgsl.ts";
import { sum } from "./reduce_sum.ts";

/** Stride, and zeros added around the picture. */
export interface Conv2dAttributes {
  readonly stride: number;
  /** Rows or columns of zeros: `[top, left, bottom, right]`; the VAE's downsamplers pad `[0, 0, 1, 1]`. */
  readonly padding: readonly [number, number, number, number];
}

const same: Conv2dAttributes = { stride: 1, padding: [1, 1, 1, 1] };
const half: Conv2dAttributes = { stride: 2, padding: [1, 1, 1, 1] };
const vae: Conv2dAttributes = { stride: 2, padding: [0, 0, 1, 1] };

/** Size of a convolution's output along one axis. */
function outputSize(size: number, kernel: number, stride: number, before: number, after: number): number {
  return Math.floor((size + before + after - kernel) / stride) + 1;
}

function check(x: TensorType, weight: TensorType): void {
  if (x.shape.length !== 4 || weight.shape.length !== 4 || x.shape[3] !== weight.shape[2]) {
    throw new TypeError(
      `shapes differ: x is [${x.shape.join(", ")}], wanted [batch, height, width, in]; ` +
        `weight is [${weight.shape.join(", ")}], wanted [height, width, in, out]`,
    );
  }
}

/**
 * Convolution `x * weight + bias + addend` over NHWC pictures.
 *
 * `x` is `[batch, height, width, in]`, `weight` `[kernel height, kernel width, in, out]` (f16 or f32), `bias` `[out]`; `addend` has the output's
 * shape, such as a residual.
 */
export const conv2d = defineOp<readonly ["x", "weight", "bias?", "addend?"], Conv2dAttributes>({
  name: "conv2d",
  inputs: ["x", "weight", "bias?", "addend?"],
  type: ({ x, weight, bias, addend }, { stride, padding: [top, left, bottom, right] }) => {
    check(x, weight);
    const [batch, height, width] = x.shape, [kh, kw, , out] = weight.shape;
    const shape = [batch, outputSize(height, kh, stride, top, bottom), outputSize(width, kw, stride, left, right), out];
    if (bias && bias.shape.join() !== `${out}`) {
      throw new TypeError(`bias is [${bias.shape.join(", ")}], wanted [${out}]`);
    }
    if (addend && addend.shape.join() !== shape.join()) {
      throw new TypeError(`addend is [${addend.shape.join(", ")}], wanted [${shape.join(", ")}]`);
    }
    return { shape, dtype: "f32" };
  },
  kernel: ({ inputs: { x, weight, bias, addend }, output, attributes: { stride, padding: [top, left] }, target }) => {
    const [batch, height, width, size] = x.shape, [kh, kw] = weight.shape, [, rows, columns, out] = output.shape;
    const lines = grid(batch * rows * columns * out, target);
    let at = 0;
    return {
      workgroups: lines.workgroups,
      wgsl: `${enables([x, weight, bias])}
${binding(at++, "x", x.dtype, "read")}
${binding(at++, "weight", weight.dtype, "read")}
${bias ? binding(at++, "bias", bias.dtype, "read") : ""}
${addend ? binding(at++, "addend", addend.dtype, "read") : ""}
${binding(at++, "result", "f32", "read_write")}

${lines.attribute}
fn main(${lines.parameters}) {
  ${lines.index}
  if (i >= ${batch * rows * columns * out}u) { return; }
  let channel = i % ${out}u;
  let column = i / ${out}u % ${columns}u;
  let row = i / ${out * columns}u % ${rows}u;
  let picture = i / ${out * columns * rows}u;
  var sum = 0.0;
  for (var u = 0u; u < ${kh}u; u++) {
    let y = i32(row * ${stride}u + u) - ${top};
    if (y < 0 || y >= ${height}) { continue; }
    for (var v = 0u; v < ${kw}u; v++) {
      let z = i32(column * ${stride}u + v) - ${left};
      if (z < 0 || z >= ${width}) { continue; }
      let pixel = ((picture * ${height}u + u32(y)) * ${width}u + u32(z)) * ${size}u;
      let tap = (u * ${kw}u + v) * ${size}u;
      for (var c = 0u; c < ${size}u; c++) {
        sum += ${widen(x.dtype, "x[pixel + c]")} * ${widen(weight.dtype, `weight[(tap + c) * ${out}u + channel]`)};
      }
    }
  }
  result[i] = sum${bias ? ` + ${widen(bias.dtype, "bias[channel]")}` : ""}${addend ? " + addend[i]" : ""};
}
`,
    };
  },
  // y = x * w + b + a:  dx is the transposed convolution of dy with w, dw the correlation of x with dy, db = Σ pixels dy, da = dy
  gradient: (dy, { x, weight }, { attributes, wants }): Gradients => ({
    x: wants.x ? conv2dInputGradient(dy, weight, { ...attributes, shape: x.shape }) : null,
    weight: wants.weight ? conv2dWeightGradient(x, dy, { ...attributes, shape: weight.shape }) : null,
    bias: wants.bias ? sum(dy, [0, 1, 2]) : null,
    addend: dy,
  }),
  samples: [
    {
      inputs: { x: [1, 3, 3, 1], weight: [3, 3, 1, 1] },
      attributes: same,
      expect: convolution([1, 3, 3, 1], [3, 3, 1, 1], same),
    },
    {
      inputs: { x: [2, 5, 7, 3], weight: [3, 3, 3, 4], bias: [4] },
      attributes: same,
      expect: convolution([2, 5, 7, 3], [3, 3, 3, 4], same),
    },
    {
      inputs: { x: [1, 6, 5, 2], weight: [3, 3, 2, 3] },
      attributes: half,
      expect: convolution([1, 6, 5, 2], [3, 3, 2, 3], half),
    },
    {
      inputs: { x: [1, 6, 4, 2], weight: [3, 3, 2, 3] },
      attributes: vae,
      expect: convolution([1, 6, 4, 2], [3, 3, 2, 3], vae),
    },
    {
      inputs: { x: [1, 4, 4, 8], weight: { shape: [3, 3, 8, 16], dtype: "f16" }, addend: [1, 4, 4, 16] },
      attributes: same,
      expect: convolution([1, 4, 4, 8], [3, 3, 8, 16], same),
    },
    {
      inputs: { x: [1, 5, 3, 33], weight: [1, 1, 33, 7] },
      attributes: { stride: 1, padding: [0, 0, 0, 0] },
      expect: convolution([1, 5, 3, 33], [1, 1, 33, 7], { stride: 1, padding: [0, 0, 0, 0] }),
    },
  ],
});

interface GradientAttributes extends Conv2dAttributes {
  /** Shape of the gradient: the convolution's input, or its weight. */
  readonly shape: readonly number[];
}

/** Gradient of `conv2d` by its input: `dx[p] = Σ over taps of dy[(p + padding − tap) / stride] · weight[tap]`. */
export const conv2dInputGradient = defineOp<readonly ["dy", "weight"], GradientAttributes>({
  name: "conv2d_input_gradient",
  inputs: ["dy", "weight"],
  type: (_, { shape }) => ({ shape, dtype: "f32" }),
  kernel: ({ inputs: { dy, weight }, attributes: { shape, stride, padding: [top, left] }, target }) => {
    const [batch, height, width, size] = shape, [kh, kw] = weight.shape, [, rows, columns, out] = dy.shape;
    const lines = grid(batch * height * width * size, target);
    return {
      workgroups: lines.workgroups,
      wgsl: `${enables([weight])}
${binding(0, "dy", dy.dtype, "read")}
${binding(1, "weight", weight.dtype, "read")}
${binding(2, "result", "f32", "read_write")}

${lines.attribute}
fn main(${lines.parameters}) {
  ${lines.index}
  if (i >= ${batch * height * width * size}u) { return; }
  let c = i % ${size}u;
  let z = i32(i / ${size}u % ${width}u);
  let y = i32(i / ${size * width}u % ${height}u);
  let picture = i / ${size * width * height}u;
  var sum = 0.0;
  for (var u = 0; u < ${kh}; u++) {
    let a = y + ${top} - u;
    if (a < 0 || a % ${stride} != 0 || a / ${stride} >= ${rows}) { continue; }
    for (var v = 0; v < ${kw}; v++) {
      let b = z + ${left} - v;
      if (b < 0 || b % ${stride} != 0 || b / ${stride} >= ${columns}) { continue; }
      let pixel = ((picture * ${rows}u + u32(a / ${stride})) * ${columns}u + u32(b / ${stride})) * ${out}u;
      let tap = (u32(u * ${kw} + v) * ${size}u + c) * ${out}u;
      for (var o = 0u; o < ${out}u; o++) { sum += dy[pixel + o] * ${widen(weight.dtype, "weight[tap + o]")}; }
    }
  }
  result[i] = sum;
}
`,
    };
  },
  samples: [{
    inputs: { dy: [1, 1, 1, 1], weight: [3, 3, 1, 1] },
    attributes: { ...same, shape: [1, 1, 1, 1] },
    expect: (dy, weight) => [dy[0] * weight[4]],
  }],
});

/** Gradient of `conv2d` by its weight: `dw[tap] = Σ over output pixels of x[p · stride + tap − padding] · dy[p]`. */
export const conv2dWeightGradient = defineOp<readonly ["x", "dy"], GradientAttributes>({
  name: "conv2d_weight_gradient",
  inputs: ["x", "dy"],
  type: (_, { shape }) => ({ shape, dtype: "f32" }),
  kernel: ({ inputs: { x, dy }, attributes: { shape, stride, padding: [top, left] }, target }) => {
    const [batch, height, width, size] = x.shape, [kh, kw] = shape, [, rows, columns, out] = dy.shape;
    const lines = grid(kh * kw * size * out, target);
    return {
      workgroups: lines.workgroups,
      wgsl: `${enables([x])}
${binding(0, "x", x.dtype, "read")}
${binding(1, "dy", dy.dtype, "read")}
${binding(2, "result", "f32", "read_write")}

${lines.attribute}
fn main(${lines.parameters}) {
  ${lines.index}
  if (i >= ${kh * kw * size * out}u) { return; }
  let o = i % ${out}u;
  let c = i / ${out}u % ${size}u;
  let v = i32(i / ${out * size}u % ${kw}u);
  let u = i32(i / ${out * size * kw}u);
  var sum = 0.0;
  for (var picture = 0; picture < ${batch}; picture++) {
    for (var row = 0; row < ${rows}; row++) {
      let y = row * ${stride} + u - ${top};
      if (y < 0 || y >= ${height}) { continue; }
      for (var column = 0; column < ${columns}; column++) {
        let z = column * ${stride} + v - ${left};
        if (z < 0 || z >= ${width}) { continue; }
        let taken = u32((picture * ${height} + y) * ${width} + z) * ${size}u + c;
        let by = u32((picture * ${rows} + row) * ${columns} + column) * ${out}u + o;
        sum += ${widen(x.dtype, "x[taken]")} * dy[by];
      }
    }
  }
  result[i] = sum;
}
`,
    };
  },
  samples: [{
    inputs: { x: [1, 1, 1, 1], dy: [1, 1, 1, 1] },
    attributes: { ...same, shape: [3, 3, 1, 1] },
    expect: (x, dy) => [0, 0, 0, 0, x[0] * dy[0], 0, 0, 0, 0],
  }],
});

/** The convolution by its definition, for the samples. */
function convolution(x: number[], weight: number[], { stride, padding: [top, left, bottom, right] }: Conv2dAttributes) {
  const [batch, height, width, size] = x, [kh, kw, , out] = weight;
  const rows = outputSize(height, kh, stride, top, bottom), columns = outputSize(width, kw, stride, left, right);
  return (values: number[], weights: number[], bias: number[] | null, addend: number[] | null) =>
    Array.from({ length: batch * rows * columns * out }, (_, i) => {
      const o = i % out, column = Math.floor(i / out) % columns, row = Math.floor(i / out / columns) % rows;
      const picture = Math.floor(i / out / columns / rows);
      let sum = (bias?.[o] ?? 0) + (addend?.[i] ?? 0);
      for (let u = 0; u < kh; u++) {
        for (let v = 0; v < kw; v++) {
          const y = row * stride + u - top, z = column * stride + v - left;
          if (y < 0 || y >= height || z < 0 || z >= width) continue;
          for (let c = 0; c < size; c++) {
            sum += values[((picture * height + y) * width + z) * size + c] *
              weights[((u * kw + v) * size + c) * out + o];
          }
        }
      }
      return sum;
    });
}
