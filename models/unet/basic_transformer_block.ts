import type { Tensor } from "../../engine/mod.ts";
import { LayerNorm } from "../layers/layer_norm.ts";
import type { Source } from "../source.ts";
import { CrossAttention } from "./cross_attention.ts";
import { FeedForward } from "./feed_forward.ts";

/** Sizes of the transformers of one level. */
export interface TransformerSizes {
  readonly size: number;
  readonly contextSize: number;
  readonly heads: number;
}

const epsilon = 1e-5;

/** Self-attention, attention to the context, feed-forward: each behind a norm, each with a residual. diffusers' `BasicTransformerBlock`. */
export class BasicTransformerBlock {
  private readonly attn1: CrossAttention;
  private readonly ff: FeedForward;
  private readonly attn2: CrossAttention;
  private readonly norm1: LayerNorm;
  private readonly norm2: LayerNorm;
  private readonly norm3: LayerNorm;

  constructor(private readonly source: Source, { size, contextSize, heads }: TransformerSizes) {
    this.attn1 = new CrossAttention(source.at("attn1"), { size, contextSize: size, heads });
    this.ff = new FeedForward(source.at("ff"), size);
    this.attn2 = new CrossAttention(source.at("attn2"), { size, contextSize, heads });
    this.norm1 = new LayerNorm(source.at("norm1"), size, { epsilon });
    this.norm2 = new LayerNorm(source.at("norm2"), size, { epsilon });
    this.norm3 = new LayerNorm(source.at("norm3"), size, { epsilon });
  }

  /** Tokens `[batch, tokens, size]` and context `[batch, n, contextSize]` to tokens. */
  forward(x: Tensor, context: Tensor): Tensor {
    return this.source.scoped(() => {
      x = this.attn1.forward(this.norm1.forward(x), { addend: x });
      x = this.attn2.forward(this.norm2.forward(x), { context, addend: x });
      return this.ff.forward(this.norm3.forward(x), { addend: x });
    });
  }
}
