import type { Tensor } from "../../engine/mod.ts";
import { Downsample2D } from "../layers/downsample_2d.ts";
import { ResnetBlock2D } from "../layers/resnet_block_2d.ts";
import type { Source } from "../source.ts";
import type { UNetConfig } from "./config.ts";
import { Transformer2DModel } from "./transformer_2d.ts";

/** What every block of the UNet gets beside the picture. */
export interface Conditions {
  /** `[batch, timeSize]`, the timestep's embedding behind its SiLU. */
  readonly time: Tensor;
  /** `[batch, n, contextSize]`, the prompt. */
  readonly context: Tensor;
  /** Outputs of the way down, which the way up joins to its inputs, last first. */
  readonly skips: Tensor[];
}

/** One level of the way down. diffusers' `CrossAttnDownBlock2D` and, without transformers, `DownBlock2D`. */
export class DownBlock2D {
  private readonly attentions: readonly Transformer2DModel[];
  private readonly resnets: readonly ResnetBlock2D[];
  private readonly downsampler: Downsample2D | null;

  constructor(
    private readonly source: Source,
    config: UNetConfig,
    sizes: { inSize: number; outSize: number; timeSize: number },
    { attention, downsample }: { attention: boolean; downsample: boolean },
  ) {
    const { layersPerBlock, groups, epsilon, heads, contextSize } = config, { inSize, outSize, timeSize } = sizes;
    const layers = Array.from({ length: layersPerBlock }, (_, layer) => layer);
    const transformer = { size: outSize, contextSize, heads };
    this.attentions = (attention ? layers : []).map((layer) =>
      new Transformer2DModel(source.at(`attentions.${layer}`), transformer, { groups })
    );
    this.resnets = layers.map((layer) => {
      const resnet = { inSize: layer === 0 ? inSize : outSize, outSize, timeSize };
      return new ResnetBlock2D(source.at(`resnets.${layer}`), resnet, { groups, epsilon });
    });
    this.downsampler = downsample
      ? new Downsample2D(source.at("downsamplers.0"), outSize, { padding: [1, 1, 1, 1] })
      : null;
  }

  /** `[batch, height, width, in]` to `[batch, height / 2, width / 2, out]`, or without halving in the last level. */
  forward(x: Tensor, { time, context, skips }: Conditions): Tensor {
    return this.source.scoped(() => {
      for (const [layer, resnet] of this.resnets.entries()) {
        x = resnet.forward(x, time);
        x = this.attentions[layer]?.forward(x, context) ?? x;
        skips.push(x);
      }
      if (this.downsampler) skips.push(x = this.downsampler.forward(x));
      return x;
    });
  }
}
