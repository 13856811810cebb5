import { linear, type Tensor } from "../../engine/mod.ts";
import type { Adapter, Source } from "../source.ts";

/** Linear layer `x·weightᵀ + bias`, with an adapter's part on top. */
export class Linear {
  private readonly weight: Tensor;
  private readonly bias: Tensor | null;
  private readonly adapter: Adapter | null;

  constructor(
    private readonly source: Source,
    { inSize, outSize }: { inSize: number; outSize: number },
    { bias = true }: { bias?: boolean } = {},
  ) {
    this.weight = source.weight("weight", [outSize, inSize]);
    this.bias = bias ? source.weight("bias", [outSize]) : null;
    this.adapter = source.adapter({ kind: "linear", inSize, outSize, kernel: 0, stride: 0 });
  }

  /**
   * @param x `[..., in]`
   * @param options.addend `[..., out]`: a residual, added to the result.
   * @returns `[..., out]`
   */
  forward(x: Tensor, { addend = null }: { addend?: Tensor | null } = {}): Tensor {
    return this.source.scopedWithAddend(addend, (addend) => {
      const y = linear(x, this.weight, this.bias, { addend });
      return this.adapter ? this.adapter(x, y) : y;
    });
  }
}
