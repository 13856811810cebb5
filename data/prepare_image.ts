import { decodeImage, imagePixelLimit } from "./image.ts";
import { ImageError } from "./image_error.ts";
import type { RandomStream } from "../random/philox.ts";
import { coverFit, fitImage, flipImage, type ImageSize, imageTensor } from "./resize.ts";

/**
 * From a picture file's content to what the VAE takes: decoded, turned, scaled, cut, perhaps mirrored.
 *
 * @param bytes Content of the file; see {@linkcode readImageBytes}.
 * @param name The file's path, for errors.
 * @param size Size of the data set.
 * @param options.random Draws the place to cut; without it the centre is kept.
 * @param options.isFlipped Mirrors the picture left to right, after cutting.
 * @returns `[height, width, 3]`, f32 in [-1, 1].
 * @throws {ImageError} If the picture cannot be read, or is so narrow that scaling it would take more pixels than a
 * picture may have.
 */
export async function prepareImage(
  bytes: Uint8Array,
  name: string,
  size: ImageSize,
  options: { random?: RandomStream; isFlipped?: boolean } = {},
): Promise<Float32Array<ArrayBuffer>> {
  const image = await decodeImage(bytes, name);
  const scaled = coverFit(image, size);
  if (scaled.width * scaled.height > imagePixelLimit) {
    throw new ImageError(
      name,
      "too_large",
      `with ${image.width} x ${image.height} pixels it is too narrow: to cover ${size.width} x ${size.height} it ` +
        `would be scaled to ${scaled.width} x ${scaled.height}; cut it first`,
    );
  }
  const cut = fitImage(image, size, { random: options.random });
  return imageTensor(options.isFlipped === true ? flipImage(cut) : cut);
}
