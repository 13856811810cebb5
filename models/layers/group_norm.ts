import { groupNorm, type Tensor } from "../../engine/mod.ts";
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
    return this.source.scoped(() => groupNorm(x, this.weight, this.bias, this.options));
  }
}
