import type { Tensor } from "../../engine/mod.ts";
import { ResnetBlock2D } from "../layers/resnet_block_2d.ts";
import type { Source } from "../source.ts";
import { AttentionBlock } from "./attention_block.ts";

/** Attention between two residual blocks. diffusers' `UNetMidBlock2D`. */
export class MidBlock {
  private readonly attention: AttentionBlock;
  private readonly resnet1: ResnetBlock2D;
  private readonly resnet2: ResnetBlock2D;

  constructor(private readonly source: Source, size: number, options: { groups: number; epsilon: number }) {
    const sizes = { inSize: size, outSize: size, timeSize: null };
    this.attention = new AttentionBlock(source.at("attentions.0"), size, options);
    this.resnet1 = new ResnetBlock2D(source.at("resnets.0"), sizes, options);
    this.resnet2 = new ResnetBlock2D(source.at("resnets.1"), sizes, options);
  }

  /** `[batch, height, width, size]` to the same. */
  forward(x: Tensor): Tensor {
    return this.source.scoped(() => this.resnet2.forward(this.attention.forward(this.resnet1.forward(x))));
  }
}
