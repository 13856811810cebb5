import { computedIn, sameShape, silu, storingActivations, type Tensor, timestepEmbedding } from "../../engine/mod.ts";
import { Conv2d } from "../layers/conv2d.ts";
import { GroupNorm } from "../layers/group_norm.ts";
import type { Source } from "../source.ts";
import type { UNetConfig } from "./config.ts";
import { type Conditions, DownBlock2D } from "./down_block_2d.ts";
import { MidBlock2D } from "./mid_block_2d.ts";
import { TimeEmbedding } from "./time_embedding.ts";
import { UpBlock2D } from "./up_block_2d.ts";

/**
 * The denoiser: what noise (or velocity) is in a latent at a timestep, given a prompt. diffusers' `UNet2DConditionModel`.
 *
 * Blocks are built in the order in which diffusers 0.10.2 registers them, the mid block behind the way up.
 */
export class UNet2DConditionModel {
  private readonly convIn: Conv2d;
  private readonly timeProjection: Source;
  private readonly timeEmbedding: TimeEmbedding;
  private readonly downBlocks: readonly DownBlock2D[];
  private readonly upBlocks: readonly UpBlock2D[];
  private readonly midBlock: MidBlock2D;
  private readonly convNormOut: GroupNorm;
  private readonly convOut: Conv2d;

  constructor(private readonly source: Source, readonly config: UNetConfig) {
    const { levels, layersPerBlock, groups, epsilon, latentSize } = config;
    const widths = levels.map((level) => level.size), first = widths[0], last = widths[widths.length - 1];
    const timeSize = 4 * first;
    this.convIn = new Conv2d(source.at("conv_in"), { inSize: latentSize, outSize: first, kernel: 3 });
    this.timeProjection = source.at("time_proj");
    this.timeEmbedding = new TimeEmbedding(source.at("time_embedding"), { waveSize: first, timeSize });
    // Channels of what the way down leaves for the way up, in the order it is pushed.
    const skipSizes = [first];
    this.downBlocks = levels.map(({ size, attentionDown }, level) => {
      const downsample = level < levels.length - 1, inSize = widths[level - 1] ?? first;
      skipSizes.push(...Array(layersPerBlock + (downsample ? 1 : 0)).fill(size));
      return new DownBlock2D(source.at(`down_blocks.${level}`), config, { inSize, outSize: size, timeSize }, {
        attention: attentionDown,
        downsample,
      });
    });
    this.upBlocks = levels.toReversed().map(({ size, attentionUp }, block) => {
      const upsample = block < levels.length - 1, inSize = widths[levels.length - block] ?? last;
      const joined = Array.from({ length: layersPerBlock + 1 }, () => skipSizes.pop()!);
      const sizes = { inSize, outSize: size, timeSize, skipSizes: joined };
      return new UpBlock2D(source.at(`up_blocks.${block}`), config, sizes, { attention: attentionUp, upsample });
    });
    this.midBlock = new MidBlock2D(source.at("mid_block"), config, { size: last, timeSize });
    this.convNormOut = new GroupNorm(source.at("conv_norm_out"), first, { groups, epsilon, silu: true });
    this.convOut = new Conv2d(source.at("conv_out"), { inSize: first, outSize: latentSize, kernel: 3 });
  }

  /**
   * @param sample Noisy latents, `[batch, height, width, 4]`; of any height and width.
   * @param timesteps `[batch]`, f32, whole or not.
   * @param context The prompt's states, `[batch, n, contextSize]`.
   * @returns `[batch, height, width, 4]`
   * @throws {TypeError} If shapes do not fit.
   */
  forward(sample: Tensor, timesteps: Tensor, context: Tensor): Tensor {
    this.check(sample, timesteps, context);
    return this.source.scoped(() => {
      const waves = { size: this.config.levels[0].size, ...this.config.waves };
      const projected = this.timeProjection.scoped(() => timestepEmbedding(timesteps, waves));
      const conditions: Conditions = {
        time: silu(this.timeEmbedding.forward(projected)),
        context,
        skips: [],
      };
      let x = this.convIn.forward(sample);
      conditions.skips.push(x);
      for (const block of this.downBlocks) x = block.forward(x, conditions);
      x = this.midBlock.forward(x, conditions);
      for (const block of this.upBlocks) x = block.forward(x, conditions);
      const last = this.convNormOut.forward(x);
      // The prediction goes into a difference: it is kept whole whatever activations are stored in.
      return storingActivations("f32", () => this.convOut.forward(last));
    });
  }

  private check(sample: Tensor, timesteps: Tensor, context: Tensor): void {
    const { latentSize, contextSize } = this.config, [batch, height, width] = sample.shape;
    const wanted: [string, Tensor, string, boolean][] = [
      ["sample", sample, `[batch, height, width, ${latentSize}]`, fits(sample, [batch, height, width, latentSize])],
      ["timesteps", timesteps, `[${batch}]`, fits(timesteps, [batch])],
      ["context", context, `[${batch}, n, ${contextSize}]`, fits(context, [batch, context.shape[1], contextSize])],
    ];
    for (const [name, tensor, shape, ok] of wanted) {
      if (!ok) throw new TypeError(`Cannot run the UNet: ${name} is ${tensor}, wanted numbers ${shape}`);
    }
  }
}

function fits(tensor: Tensor, shape: readonly number[]): boolean {
  return computedIn(tensor.dtype) === "f32" && sameShape(tensor.shape, shape);
}
