import { attention, reshape, type Tensor } from "../../engine/mod.ts";
import { GroupNorm } from "../layers/group_norm.ts";
import { Linear } from "../layers/linear.ts";
import type { Source } from "../source.ts";

/** Self-attention over a picture's pixels with one head, and a residual. diffusers' `AttentionBlock`. */
export class AttentionBlock {
  private readonly groupNorm: GroupNorm;
  private readonly query: Linear;
  private readonly key: Linear;
  private readonly value: Linear;
  private readonly projAttn: Linear;

  constructor(private readonly source: Source, size: number, options: { groups: number; epsilon: number }) {
    const sizes = { inSize: size, outSize: size };
    this.groupNorm = new GroupNorm(source.at("group_norm"), size, options);
    this.query = new Linear(source.at("query"), sizes);
    this.key = new Linear(source.at("key"), sizes);
    this.value = new Linear(source.at("value"), sizes);
    this.projAttn = new Linear(source.at("proj_attn"), sizes);
  }

  /** `[batch, height, width, size]` to the same. */
  forward(x: Tensor): Tensor {
    return this.source.scoped(() => {
      const [batch, height, width, size] = x.shape, shape = [batch, height * width, size];
      const tokens = reshape(this.groupNorm.forward(x), shape);
      const q = this.query.forward(tokens), k = this.key.forward(tokens), v = this.value.forward(tokens);
      const y = this.projAttn.forward(attention(q, k, v, { heads: 1 }), { addend: reshape(x, shape) });
      return reshape(y, x.shape);
    });
  }
}
