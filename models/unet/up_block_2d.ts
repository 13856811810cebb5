import { checkpointed, concat, type Tensor } from "../../engine/mod.ts";
import { ResnetBlock2D } from "../layers/resnet_block_2d.ts";
import { Upsample2D } from "../layers/upsample_2d.ts";
import type { Source } from "../source.ts";
import type { UNetConfig } from "./config.ts";
import type { Conditions } from "./down_block_2d.ts";
import { Transformer2DModel } from "./transformer_2d.ts";

/** One level of the way up. diffusers' `CrossAttnUpBlock2D` and, without transformers, `UpBlock2D`. */
export class UpBlock2D {
  private readonly attentions: readonly Transformer2DModel[];
  private readonly resnets: readonly ResnetBlock2D[];
  private readonly upsampler: Upsample2D | null;

  /** @param sizes.skipSizes Channels of the skip that each residual block joins to its input, in the order they run. */
  constructor(
    private readonly source: Source,
    { groups, epsilon, heads, contextSize }: UNetConfig,
    sizes: { inSize: number; outSize: number; timeSize: number; skipSizes: readonly number[] },
    { attention, upsample }: { attention: boolean; upsample: boolean },
  ) {
    const { inSize, outSize, timeSize, skipSizes } = sizes, transformer = { size: outSize, contextSize, heads };
    this.attentions = (attention ? skipSizes : []).map((_, layer) =>
      new Transformer2DModel(source.at(`attentions.${layer}`), transformer, { groups })
    );
    this.resnets = skipSizes.map((skipSize, layer) => {
      const resnet = { inSize: (layer === 0 ? inSize : outSize) + skipSize, outSize, timeSize };
      return new ResnetBlock2D(source.at(`resnets.${layer}`), resnet, { groups, epsilon });
    });
    this.upsampler = upsample ? new Upsample2D(source.at("upsamplers.0"), outSize) : null;
  }

  /** `[batch, height, width, in]` to `[batch, 2 height, 2 width, out]`, or without doubling in the last level. */
  forward(x: Tensor, { time, context, skips }: Conditions): Tensor {
    return this.source.scoped(() => {
      for (const [layer, resnet] of this.resnets.entries()) {
        const below = x, skip = skips.pop()!;
        // The joined picture is larger than what it is joined of, and cheap to make again.
        x = checkpointed(() => resnet.forward(concat(below, skip, { axis: 3 }), time));
        x = this.attentions[layer]?.forward(x, context) ?? x;
      }
      if (!this.upsampler) return x;
      // As large as the next skip is, which was not halved yet.
      const [, height, width] = skips.at(-1)!.shape;
      return this.upsampler.forward(x, [height, width]);
    });
  }
}
