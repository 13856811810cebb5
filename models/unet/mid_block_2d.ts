import type { Tensor } from "../../engine/mod.ts";
import { ResnetBlock2D } from "../layers/resnet_block_2d.ts";
import type { Source } from "../source.ts";
import type { UNetConfig } from "./config.ts";
import type { Conditions } from "./down_block_2d.ts";
import { Transformer2DModel } from "./transformer_2d.ts";

/** The lowest level: a transformer between two residual blocks. diffusers' `UNetMidBlock2DCrossAttn`. */
export class MidBlock2D {
  private readonly attention: Transformer2DModel;
  private readonly resnet1: ResnetBlock2D;
  private readonly resnet2: ResnetBlock2D;

  constructor(
    private readonly source: Source,
    { groups, epsilon, heads, contextSize }: UNetConfig,
    { size, timeSize }: { size: number; timeSize: number },
  ) {
    const resnet = { inSize: size, outSize: size, timeSize };
    this.attention = new Transformer2DModel(source.at("attentions.0"), { size, contextSize, heads }, { groups });
    this.resnet1 = new ResnetBlock2D(source.at("resnets.0"), resnet, { groups, epsilon });
    this.resnet2 = new ResnetBlock2D(source.at("resnets.1"), resnet, { groups, epsilon });
  }

  /** `[batch, height, width, size]` to the same. */
  forward(x: Tensor, { time, context }: Conditions): Tensor {
    return this.source.scoped(() =>
      this.resnet2.forward(this.attention.forward(this.resnet1.forward(x, time), context), time)
    );
  }
}
