import { add, reshape, type Tensor } from "../../engine/mod.ts";
import type { Source } from "../source.ts";
import { Conv2d } from "./conv2d.ts";
import { GroupNorm } from "./group_norm.ts";
import { Linear } from "./linear.ts";

/** Sizes of a residual block; `timeSize` null where no timestep comes in, as in the VAE. */
export interface ResnetSizes {
  readonly inSize: number;
  readonly outSize: number;
  readonly timeSize: number | null;
}

/** Two 3×3 convolutions, each behind a norm and SiLU, the timestep added between them, and a shortcut around. diffusers' `ResnetBlock2D`. */
export class ResnetBlock2D {
  private readonly source: Source;
  private readonly norm1: GroupNorm;
  private readonly conv1: Conv2d;
  private readonly timeProjection: Linear | null;
  private readonly norm2: GroupNorm;
  private readonly conv2: Conv2d;
  private readonly shortcut: Conv2d | null;

  constructor(
    source: Source,
    { inSize, outSize, timeSize }: ResnetSizes,
    options: { groups: number; epsilon: number },
  ) {
    this.source = source = source.as("ResnetBlock2D");
    this.norm1 = new GroupNorm(source.at("norm1"), inSize, { ...options, silu: true });
    this.conv1 = new Conv2d(source.at("conv1"), { inSize, outSize, kernel: 3 });
    this.timeProjection = timeSize === null
      ? null
      : new Linear(source.at("time_emb_proj"), { inSize: timeSize, outSize });
    this.norm2 = new GroupNorm(source.at("norm2"), outSize, { ...options, silu: true });
    this.conv2 = new Conv2d(source.at("conv2"), { inSize: outSize, outSize, kernel: 3 });
    this.shortcut = inSize === outSize ? null : new Conv2d(source.at("conv_shortcut"), { inSize, outSize, kernel: 1 });
  }

  /**
   * @param x `[batch, height, width, in]`
   * @param time `[batch, timeSize]`, the timestep's embedding behind its SiLU.
   * @returns `[batch, height, width, out]`
   */
  forward(x: Tensor, time: Tensor | null = null): Tensor {
    return this.source.checkpointed(() => {
      let y = this.conv1.forward(this.norm1.forward(x));
      if (this.timeProjection && time) {
        const shift = this.timeProjection.forward(time); // [batch, out]
        y = add(y, reshape(shift, [shift.shape[0], 1, 1, shift.shape[1]]));
      }
      const addend = this.shortcut ? this.shortcut.forward(x) : x;
      return this.conv2.forward(this.norm2.forward(y), { addend });
    });
  }
}
