import { silu, type Tensor, timestepEmbedding } from "../../engine/mod.ts";
import { Linear } from "../layers/linear.ts";
import type { Source } from "../source.ts";

/** Sines and cosines of the timestep, then two linear layers with SiLU between. diffusers' `Timesteps` and `TimestepEmbedding`. */
export class TimeEmbedding {
  private readonly linear1: Linear;
  private readonly linear2: Linear;

  constructor(
    private readonly source: Source,
    private readonly sizes: { waveSize: number; timeSize: number },
    private readonly waves: { flipSinToCos: boolean; frequencyShift: number },
  ) {
    const { waveSize, timeSize } = sizes;
    this.linear1 = new Linear(source.at("linear_1"), { inSize: waveSize, outSize: timeSize });
    this.linear2 = new Linear(source.at("linear_2"), { inSize: timeSize, outSize: timeSize });
  }

  /** Timesteps `[batch]`, f32, whole or not, to `[batch, timeSize]`. */
  forward(timesteps: Tensor): Tensor {
    return this.source.scoped(() => {
      const waves = timestepEmbedding(timesteps, { size: this.sizes.waveSize, ...this.waves });
      return this.linear2.forward(silu(this.linear1.forward(waves)));
    });
  }
}
