import { input, plan, type Program } from "../../engine/mod.ts";
import type { AutoencoderKL } from "./autoencoder_kl.ts";
import { vaeFactor } from "./config.ts";
import type { PictureSize } from "./tiles.ts";

/** Pixels of pictures that are decoded in one go: eight of 128×128. Full-size pictures take hundreds of megabytes each on their way. */
const decodedPixels = 8 * 128 ** 2;

/**
 * How many pictures are decoded at once.
 *
 * @param size In latent cells.
 */
export function decodedTogether({ config }: AutoencoderKL, { height, width }: PictureSize): number {
  return Math.max(1, Math.floor(decodedPixels / (height * width * vaeFactor(config) ** 2)));
}

/**
 * Decodes latents `[batch, height, width, 4]`, fed as `latents` without the UNet's scale, to `pictures`.
 *
 * @param size In latent cells.
 */
export function decodeProgram(model: AutoencoderKL, batch: number, { height, width }: PictureSize): Program {
  return plan({
    outputs: { pictures: model.decode(input("latents", [batch, height, width, model.config.latentSize])) },
  });
}
