import { groupNorm, silu, type Tensor } from "../../engine/mod.ts";
import type { Source } from "../source.ts";

/** Group normalization over NHWC pictures, with the SiLU behind it where `silu` is set. */
export class GroupNorm {
  private readonly weight: Tensor;
  private readonly bias: Tensor;

  constructor(
    private readonly source: Source,
    size: number,
    private readonly options: { groups: number; epsilon: number; silu?: boolean },
  ) {
    this.weight = source.weight("weight", [size]);
    this.bias = source.weight("bias", [size]);
  }

  /** `[batch, height, width, size]` to the same. */
  forward(x: Tensor): Tensor {
    const { source, weight, bias, options } = this;
    if (!options.silu || !source.isApart) return source.scoped(() => groupNorm(x, weight, bias, options));
    return silu(source.scoped(() => groupNorm(x, weight, bias, { ...options, silu: false })));
  }
}
