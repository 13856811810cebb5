import type { Tensor } from "../../engine/mod.ts";
import type { Source } from "../source.ts";
import { Conv2d, type Padding } from "./conv2d.ts";

/** Halves height and width by a 3×3 convolution with stride 2. diffusers' `Downsample2D`. */
export class Downsample2D {
  private readonly source: Source;
  private readonly conv: Conv2d;

  constructor(source: Source, size: number, { padding }: { padding: Padding }) {
    this.source = source = source.as("Downsample2D");
    this.conv = new Conv2d(source.at("conv"), { inSize: size, outSize: size, kernel: 3 }, { stride: 2, padding });
  }

  /** `[batch, height, width, size]` to `[batch, height / 2, width / 2, size]`; with padding all around, odd sizes are rounded up. */
  forward(x: Tensor): Tensor {
    return this.source.scoped(() => this.conv.forward(x));
  }
}
