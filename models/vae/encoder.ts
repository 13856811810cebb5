import type { Tensor } from "../../engine/mod.ts";
import { Conv2d } from "../layers/conv2d.ts";
import { Downsample2D } from "../layers/downsample_2d.ts";
import { GroupNorm } from "../layers/group_norm.ts";
import { ResnetBlock2D } from "../layers/resnet_block_2d.ts";
import type { Source } from "../source.ts";
import type { VaeConfig } from "./config.ts";
import { MidBlock } from "./mid_block.ts";

/** One level of the encoder. diffusers' `DownEncoderBlock2D`. */
class DownEncoderBlock {
  private readonly resnets: readonly ResnetBlock2D[];
  private readonly downsampler: Downsample2D | null;

  constructor(
    private readonly source: Source,
    { inSize, outSize, layers, downsample }: { inSize: number; outSize: number; layers: number; downsample: boolean },
    options: { groups: number; epsilon: number },
  ) {
    this.resnets = Array.from({ length: layers }, (_, layer) => {
      const sizes = { inSize: layer === 0 ? inSize : outSize, outSize, timeSize: null };
      return new ResnetBlock2D(source.at(`resnets.${layer}`), sizes, options);
    });
    // Unlike the UNet's, padded on the right and below only.
    this.downsampler = downsample
      ? new Downsample2D(source.at("downsamplers.0"), outSize, { padding: [0, 0, 1, 1] })
      : null;
  }

  forward(x: Tensor): Tensor {
    return this.source.scoped(() => {
      for (const resnet of this.resnets) x = resnet.forward(x);
      return this.downsampler ? this.downsampler.forward(x) : x;
    });
  }
}

/** Picture to moments of the latent. diffusers' `Encoder`. */
export class Encoder {
  private readonly convIn: Conv2d;
  private readonly downBlocks: readonly DownEncoderBlock[];
  private readonly midBlock: MidBlock;
  private readonly convNormOut: GroupNorm;
  private readonly convOut: Conv2d;

  constructor(private readonly source: Source, { widths, layersPerBlock, groups, latentSize }: VaeConfig) {
    const options = { groups, epsilon: 1e-6 }, last = widths[widths.length - 1];
    this.convIn = new Conv2d(source.at("conv_in"), { inSize: 3, outSize: widths[0], kernel: 3 });
    this.downBlocks = widths.map((outSize, level) => {
      const sizes = { inSize: widths[Math.max(level - 1, 0)], outSize, layers: layersPerBlock };
      const downsample = level < widths.length - 1;
      return new DownEncoderBlock(source.at(`down_blocks.${level}`), { ...sizes, downsample }, options);
    });
    this.midBlock = new MidBlock(source.at("mid_block"), last, options);
    this.convNormOut = new GroupNorm(source.at("conv_norm_out"), last, { ...options, silu: true });
    this.convOut = new Conv2d(source.at("conv_out"), { inSize: last, outSize: 2 * latentSize, kernel: 3 });
  }

  /** `[batch, height, width, 3]` to `[batch, ⌊height / 8⌋, ⌊width / 8⌋, 8]`. */
  forward(image: Tensor): Tensor {
    return this.source.scoped(() => {
      let x = this.convIn.forward(image);
      for (const block of this.downBlocks) x = block.forward(x);
      return this.convOut.forward(this.convNormOut.forward(this.midBlock.forward(x)));
    });
  }
}
