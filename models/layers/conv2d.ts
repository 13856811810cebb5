import { conv2d, linear, type Tensor } from "../../engine/mod.ts";
import type { Adapter, Source } from "../source.ts";

/** Rows and columns of zeros around a picture: `[top, left, bottom, right]`. */
export type Padding = readonly [number, number, number, number];

/** Convolution over NHWC pictures, with an adapter's part on top. A 1×1 kernel runs as a matrix product. */
export class Conv2d {
  private readonly weight: Tensor;
  private readonly bias: Tensor;
  private readonly adapter: Adapter | null;
  private readonly stride: number;
  private readonly padding: Padding;

  constructor(
    private readonly source: Source,
    private readonly sizes: { inSize: number; outSize: number; kernel: 1 | 3 },
    { stride = 1, padding = [1, 1, 1, 1] }: { stride?: number; padding?: Padding } = {},
  ) {
    const { inSize, outSize, kernel } = sizes;
    const layout = kernel === 1 ? "same" : "convolution";
    this.weight = source.weight("weight", [outSize, inSize, kernel, kernel], layout);
    this.bias = source.weight("bias", [outSize]);
    this.adapter = source.adapter({ kind: "conv2d", inSize, outSize, kernel, stride });
    this.stride = stride;
    this.padding = padding;
  }

  /**
   * @param x `[batch, height, width, in]`
   * @param options.addend A residual of the result's shape, added to it.
   * @returns `[batch, height / stride, width / stride, out]`
   */
  forward(x: Tensor, { addend = null }: { addend?: Tensor | null } = {}): Tensor {
    const { stride, padding } = this;
    return this.source.scopedWithAddend(addend, (addend) => {
      const y = this.sizes.kernel === 1
        ? linear(x, this.weight, this.bias, { addend })
        : conv2d(x, this.weight, this.bias, addend, { stride, padding });
      return this.adapter ? this.adapter(x, y) : y;
    });
  }
}
