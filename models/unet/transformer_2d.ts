import { reshape, type Tensor } from "../../engine/mod.ts";
import { Conv2d } from "../layers/conv2d.ts";
import { GroupNorm } from "../layers/group_norm.ts";
import type { Source } from "../source.ts";
import { BasicTransformerBlock, type TransformerSizes } from "./basic_transformer_block.ts";

/** A transformer over a picture's pixels as tokens, between 1×1 convolutions, with a residual. diffusers' `Transformer2DModel`. */
export class Transformer2DModel {
  private readonly source: Source;
  private readonly norm: GroupNorm;
  private readonly projIn: Conv2d;
  private readonly block: BasicTransformerBlock;
  private readonly projOut: Conv2d;

  constructor(source: Source, sizes: TransformerSizes, { groups }: { groups: number }) {
    this.source = source = source.as("Transformer2DModel");
    const { size } = sizes;
    // 1e-6 whatever the configuration says: only the residual blocks follow its norm_eps.
    this.norm = new GroupNorm(source.at("norm"), size, { groups, epsilon: 1e-6 });
    this.projIn = new Conv2d(source.at("proj_in"), { inSize: size, outSize: size, kernel: 1 });
    this.block = new BasicTransformerBlock(source.at("transformer_blocks.0"), sizes);
    this.projOut = new Conv2d(source.at("proj_out"), { inSize: size, outSize: size, kernel: 1 });
  }

  /** Picture `[batch, height, width, size]` and context `[batch, n, contextSize]` to a picture. */
  forward(x: Tensor, context: Tensor): Tensor {
    return this.source.checkpointed(() => {
      const [batch, height, width, size] = x.shape;
      const tokens = reshape(this.projIn.forward(this.norm.forward(x)), [batch, height * width, size]);
      const y = this.block.forward(tokens, context);
      return this.projOut.forward(reshape(y, x.shape), { addend: x });
    });
  }
}
