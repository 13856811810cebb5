import { slice, type Tensor, upsampleNearest } from "../../engine/mod.ts";
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

  /**
   * `[batch, height, width, size]` to `[batch, 2 height, 2 width, size]`, or to a size that is one row or column smaller.
   *
   * @param size Height and width of the result; twice the input's when left out. Where the way down had rounded up, the last row or column goes: what
   * diffusers' nearest neighbours of that size come to.
   */
  forward(x: Tensor, size: readonly [number, number] = [2 * x.shape[1], 2 * x.shape[2]]): Tensor {
    return this.source.scoped(() => {
      let doubled = upsampleNearest(x);
      for (const [at, length] of size.entries()) {
        const axis = at + 1;
        if (doubled.shape[axis] !== length) doubled = slice(doubled, { axis, start: 0, length });
      }
      return this.conv.forward(doubled);
    });
  }
}
