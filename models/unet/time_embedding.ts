import { silu, type Tensor } from "../../engine/mod.ts";
import { Linear } from "../layers/linear.ts";
import type { Source } from "../source.ts";

/** Two linear layers with SiLU between, over the sines and cosines of a timestep. diffusers' `TimestepEmbedding`. */
export class TimeEmbedding {
  private readonly linear1: Linear;
  private readonly linear2: Linear;

  constructor(private readonly source: Source, { waveSize, timeSize }: { waveSize: number; timeSize: number }) {
    this.linear1 = new Linear(source.at("linear_1"), { inSize: waveSize, outSize: timeSize });
    this.linear2 = new Linear(source.at("linear_2"), { inSize: timeSize, outSize: timeSize });
  }

  /** Waves `[batch, waveSize]` to `[batch, timeSize]`. */
  forward(waves: Tensor): Tensor {
    return this.source.scoped(() => this.linear2.forward(silu(this.linear1.forward(waves))));
  }
}
