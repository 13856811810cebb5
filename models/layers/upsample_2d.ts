import { type Tensor, upsampleNearest } from "../../engine/mod.ts";
import type { Source } from "../source.ts";
import { Conv2d } from "./conv2d.ts";

/** Doubles height and width by repeating pixels, then convolves 3×3. diffusers' `Upsample2D`. */
export class Upsample2D {
  private readonly source: Source;
  private readonly conv: Conv2d;

  constructor(source: Source, size: number) {
    this.source = source = source.as("Upsample2D");
    this.conv = new Conv2d(source.at("conv"), { inSize: size, outSize: size, kernel: 3 });
  }

  /** `[batch, height, width, size]` to `[batch, 2 height, 2 width, size]`. */
  forward(x: Tensor): Tensor {
    return this.source.scoped(() => this.conv.forward(upsampleNearest(x)));
  }
}
