import { layerNorm, type Tensor } from "../../engine/mod.ts";
import type { Source } from "../source.ts";

/** Normalization of each token over its channels. */
export class LayerNorm {
  private readonly weight: Tensor;
  private readonly bias: Tensor;

  constructor(private readonly source: Source, size: number, private readonly options: { epsilon: number }) {
    this.weight = source.weight("weight", [size]);
    this.bias = source.weight("bias", [size]);
  }

  /** `[..., size]` to the same. */
  forward(x: Tensor): Tensor {
    return this.source.scoped(() => layerNorm(x, this.weight, this.bias, this.options));
  }
}
