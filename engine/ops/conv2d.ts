import { defineOp, type Gradients } from "../graph/op.ts";
import type { Shape, TensorType } from "../graph/types.ts";
import {
  conv2dForward,
  conv2dInputGradient as conv2dInputGradientKernel,
  type Conv2dShape,
  conv2dWeightGradient as conv2dWeightGradientKernel,
} from "./kernels/conv2d.ts";
import { factorType, floatType } from "./kernels/wgsl.ts";
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

function sizesOf(
  x: Shape,
  weight: Shape,
  { stride, padding: [top, left, bottom, right] }: Conv2dAttributes,
): Conv2dShape {
  const [batch, height, width, inChannels] = x, [kernelHeight, kernelWidth, , outChannels] = weight;
  const padding = { top, left, bottom, right };
  return { batch, height, width, inChannels, outChannels, kernelHeight, kernelWidth, stride, padding };
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
 * `x` is `[batch, height, width, in]`, `weight` `[kernel height, kernel width, in, out]`, `bias` `[out]`; `addend` has the output's
 * shape, such as a residual.
 */
export const conv2d = defineOp<readonly ["x", "weight", "bias?", "addend?"], Conv2dAttributes>({
  name: "conv2d",
  narrows: 1,
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
  kernel: ({ inputs: { x, weight, bias, addend }, output, attributes, target }) =>
    conv2dForward({
      ...sizesOf(x.shape, weight.shape, attributes),
      dtypeX: factorType(x),
      dtypeWeight: factorType(weight),
      bias: bias && floatType(bias),
      addend: addend && floatType(addend),
      result: floatType(output),
    }, target),
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
  kernel: ({ inputs: { dy, weight }, attributes, target }) =>
    conv2dInputGradientKernel({
      ...sizesOf(attributes.shape, weight.shape, attributes),
      dtypeGradient: factorType(dy),
      dtypeWeight: factorType(weight),
    }, target),
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
  kernel: ({ inputs: { x, dy }, attributes, target }) =>
    conv2dWeightGradientKernel({
      ...sizesOf(x.shape, attributes.shape, attributes),
      dtypeX: factorType(x),
      dtypeGradient: factorType(dy),
    }, target),
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
