import { geglu, type Tensor } from "../../engine/mod.ts";
import { Linear } from "../layers/linear.ts";
import type { Source } from "../source.ts";

/** Widens each token fourfold, gates one half by the GELU of the other, and narrows it again. diffusers' `FeedForward` with `GEGLU`. */
export class FeedForward {
  private readonly gate: Source;
  private readonly projection: Linear;
  private readonly out: Linear;

  constructor(private readonly source: Source, size: number) {
    this.gate = source.at("net.0");
    this.projection = new Linear(this.gate.at("proj"), { inSize: size, outSize: 8 * size });
    this.out = new Linear(source.at("net.2"), { inSize: 4 * size, outSize: size });
  }

  /** `[batch, tokens, size]` to the same; the residual `addend` is added. */
  forward(x: Tensor, { addend }: { addend: Tensor }): Tensor {
    return this.source.scopedWithAddend(
      addend,
      (addend) => this.out.forward(this.gate.scoped(() => geglu(this.projection.forward(x))), { addend }),
    );
  }
}
