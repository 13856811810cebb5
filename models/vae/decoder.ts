import type { Tensor } from "../../engine/mod.ts";
import { Conv2d } from "../layers/conv2d.ts";
import { GroupNorm } from "../layers/group_norm.ts";
import { ResnetBlock2D } from "../layers/resnet_block_2d.ts";
import { Upsample2D } from "../layers/upsample_2d.ts";
import type { Source } from "../source.ts";
import type { VaeConfig } from "./config.ts";
import { MidBlock } from "./mid_block.ts";

/** One level of the decoder. diffusers' `UpDecoderBlock2D`. */
class UpDecoderBlock {
  private readonly resnets: readonly ResnetBlock2D[];
  private readonly upsampler: Upsample2D | null;

  constructor(
    private readonly source: Source,
    { inSize, outSize, layers, upsample }: { inSize: number; outSize: number; layers: number; upsample: boolean },
    options: { groups: number; epsilon: number },
  ) {
    this.resnets = Array.from({ length: layers }, (_, layer) => {
      const sizes = { inSize: layer === 0 ? inSize : outSize, outSize, timeSize: null };
      return new ResnetBlock2D(source.at(`resnets.${layer}`), sizes, options);
    });
    this.upsampler = upsample ? new Upsample2D(source.at("upsamplers.0"), outSize) : null;
  }

  forward(x: Tensor): Tensor {
    return this.source.scoped(() => {
      for (const resnet of this.resnets) x = resnet.forward(x);
      return this.upsampler ? this.upsampler.forward(x) : x;
    });
  }
}

/** Latent to picture. diffusers' `Decoder`. */
export class Decoder {
  private readonly convIn: Conv2d;
  private readonly upBlocks: readonly UpDecoderBlock[];
  private readonly midBlock: MidBlock;
  private readonly convNormOut: GroupNorm;
  private readonly convOut: Conv2d;

  constructor(private readonly source: Source, { widths, layersPerBlock, groups, latentSize }: VaeConfig) {
    const options = { groups, epsilon: 1e-6 }, rising = widths.toReversed(), last = rising[rising.length - 1];
    this.convIn = new Conv2d(source.at("conv_in"), { inSize: latentSize, outSize: rising[0], kernel: 3 });
    this.midBlock = new MidBlock(source.at("mid_block"), rising[0], options);
    this.upBlocks = rising.map((outSize, block) => {
      const sizes = { inSize: rising[Math.max(block - 1, 0)], outSize, layers: layersPerBlock + 1 };
      const upsample = block < rising.length - 1;
      return new UpDecoderBlock(source.at(`up_blocks.${block}`), { ...sizes, upsample }, options);
    });
    this.convNormOut = new GroupNorm(source.at("conv_norm_out"), last, { ...options, silu: true });
    this.convOut = new Conv2d(source.at("conv_out"), { inSize: last, outSize: 3, kernel: 3 });
  }

  /** `[batch, height, width, 4]` to `[batch, 8 height, 8 width, 3]`. */
  forward(latent: Tensor): Tensor {
    return this.source.scoped(() => {
      let x = this.midBlock.forward(this.convIn.forward(latent));
      for (const block of this.upBlocks) x = block.forward(x);
      return this.convOut.forward(this.convNormOut.forward(x));
    });
  }
}
