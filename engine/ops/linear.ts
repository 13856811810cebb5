import { reshape, type Tensor } from "../graph/tensor.ts";
import { elementCount } from "../graph/types.ts";
import { matmul } from "./matmul.ts";

/**
 * Linear layer `scale * x·weightᵀ + bias + addend`.
 *
 * @param x `[..., in]`
 * @param weight `[out, in]`, PyTorch's layout; a 1×1 convolution's `[out, in, 1, 1]` as well, `x` being NHWC.
 * @param bias `[out]`, or null.
 * @param options.addend `[..., out]`: what is added to the result, such as a residual.
 * @param options.scale Factor on the product alone; 1 when left out.
 * @returns `[..., out]`, f32.
 */
export function linear(
  x: Tensor,
  weight: Tensor,
  bias: Tensor | null = null,
  options: { addend?: Tensor | null; scale?: number } = {},
): Tensor {
  const rows = elementCount(x.shape.slice(0, -1)), [out, size] = weight.shape;
  const flat = reshape(x, [rows, x.shape[x.shape.length - 1]]);
  const addend = options.addend ? reshape(options.addend, [rows, out]) : null;
  const y = matmul(flat, reshape(weight, [out, size]), bias, addend, { transposeB: true, scale: options.scale ?? 1 });
  return reshape(y, [...x.shape.slice(0, -1), out]);
}
