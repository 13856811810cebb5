import { type BufferLimits, input, plan, type Program } from "../../engine/mod.ts";
import type { AutoencoderKL } from "./autoencoder_kl.ts";
import { vaeFactor } from "./config.ts";
import { findFitting, type Fitting } from "./fitting.ts";
import type { PictureSize } from "./tiles.ts";

/** Pixels of pictures that are decoded in one go: eight of 128×128. Full-size pictures take hundreds of megabytes each on their way. */
const decodedPixels = 8 * 128 ** 2;

/** Tiles' sides are multiples of it, in latent cells. */
const tileStep = 8;

/**
 * How many pictures are decoded at once, where they fit.
 *
 * @param size In latent cells.
 */
export function decodedTogether({ config }: AutoencoderKL, { height, width }: PictureSize): number {
  return Math.max(1, Math.floor(decodedPixels / (height * width * vaeFactor(config) ** 2)));
}

/**
 * Finds the fastest way to decode pictures that fits, see `findFitting`; tiles are in latent cells.
 *
 * @param size In latent cells.
 * @param options.batch Pictures at once.
 * @param options.limits What the adapter can hold; not looked at when left out.
 * @throws {RangeError} If not even the smallest tile fits.
 */
export function planDecoding(
  model: AutoencoderKL,
  size: PictureSize,
  options: { batch: number; limits?: BufferLimits },
): Fitting {
  const factor = vaeFactor(model.config), pixels = `${size.width * factor}×${size.height * factor} pixels`;
  const failure = `Cannot decode pictures of ${pixels}, not even in tiles of ${2 * tileStep * factor}`;
  const program = (batch: number, size: PictureSize) => decodeProgram(model, batch, size);
  return findFitting({ size, tileStep, unit: 1, program, failure }, options);
}

/** Decodes latents `[batch, height, width, 4]`, fed as `latents` without the UNet's scale, to `pictures`. */
function decodeProgram(model: AutoencoderKL, batch: number, { height, width }: PictureSize): Program {
  const latents = input("latents", [batch, height, width, model.config.latentSize]);
  return plan({ outputs: { pictures: model.decode(latents) } });
}
