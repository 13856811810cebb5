import { input, plan, type Program } from "../../engine/mod.ts";
import type { AutoencoderKL } from "./autoencoder_kl.ts";
import { vaeFactor } from "./config.ts";
import { findFitting, type Fitting, type FittingOptions } from "./fitting.ts";
import type { PictureSize } from "./tiles.ts";

/** How pictures of one size are encoded; tiles are in pixels. */
export type Encoding = Fitting;

/** What encoding must keep to. */
export type EncodingOptions = FittingOptions;

/** Tiles' sides are multiples of it, in pixels. */
const tileStep = 64;

/**
 * Finds the fastest way to encode pictures that fits, see `findFitting`.
 *
 * @param size In pixels.
 * @throws {RangeError} If not even the smallest tile fits.
 */
export function planEncoding(model: AutoencoderKL, size: PictureSize, options: EncodingOptions = {}): Encoding {
  const failure = `Cannot encode pictures of ${size.width}×${size.height} pixels, not even in tiles of ${2 * tileStep}`;
  const program = (batch: number, size: PictureSize) => encodeProgram(model, batch, size);
  return findFitting({ size, tileStep, unit: vaeFactor(model.config), program, failure }, options);
}

/** Encodes pictures `[batch, height, width, 3]`, fed as `pictures`, to `mean` and `logvar`. */
function encodeProgram(model: AutoencoderKL, batch: number, { height, width }: PictureSize): Program {
  const { mean, logvar } = model.encode(input("pictures", [batch, height, width, 3]));
  return plan({ outputs: { mean, logvar } });
}
