import { attention, type Tensor } from "../../engine/mod.ts";
import { Linear } from "../layers/linear.ts";
import type { Source } from "../source.ts";

/** Attention from tokens to a context, or to themselves. diffusers' `CrossAttention`. */
export class CrossAttention {
  private readonly toQ: Linear;
  private readonly toK: Linear;
  private readonly toV: Linear;
  private readonly toOut: Linear;
  private readonly heads: number;

  constructor(
    private readonly source: Source,
    { size, contextSize, heads }: { size: number; contextSize: number; heads: number },
  ) {
    this.toQ = new Linear(source.at("to_q"), { inSize: size, outSize: size }, { bias: false });
    this.toK = new Linear(source.at("to_k"), { inSize: contextSize, outSize: size }, { bias: false });
    this.toV = new Linear(source.at("to_v"), { inSize: contextSize, outSize: size }, { bias: false });
    this.toOut = new Linear(source.at("to_out.0"), { inSize: size, outSize: size });
    this.heads = heads;
  }

  /**
   * @param x `[batch, tokens, size]`
   * @param options.context `[batch, n, contextSize]`; `x` itself when left out.
   * @param options.addend `[batch, tokens, size]`: a residual, added to the result.
   * @returns `[batch, tokens, size]`
   */
  forward(x: Tensor, { context = x, addend }: { context?: Tensor; addend: Tensor }): Tensor {
    return this.source.scopedWithAddend(addend, (addend) => {
      const q = this.toQ.forward(x), k = this.toK.forward(context), v = this.toV.forward(context);
      return this.toOut.forward(attention(q, k, v, { heads: this.heads }), { addend });
    });
  }
}
