import { changeColour, type ColourChange } from "./colour.ts";
import { decodeImage, imagePixelLimit, type RgbImage } from "./image.ts";
import { ImageError } from "./image_error.ts";
import type { PictureCut } from "./picture_cut.ts";
import { cropImage, flipImage, imageTensor, resizeArea } from "./resize.ts";

/** What becomes of a picture. */
export interface Preparation {
  readonly cut: PictureCut;
  /** Mirrors the picture left to right, after cutting. */
  readonly isFlipped?: boolean;
  readonly colour?: ColourChange | null;
}

/**
 * A picture file's content as it is trained on: decoded, turned, scaled, cut, its colours changed, perhaps mirrored.
 *
 * @param bytes Content of the file; see {@linkcode readImageBytes}.
 * @param name The file's path, for errors.
 * @throws {ImageError} If the picture cannot be read, or is so narrow that scaling it would take more pixels than a
 * picture may have.
 */
export async function prepareImage(bytes: Uint8Array, name: string, preparation: Preparation): Promise<RgbImage> {
  const { cut: { scaled, left, top, size }, isFlipped = false, colour = null } = preparation;
  const image = await decodeImage(bytes, name);
  if (scaled.width * scaled.height > imagePixelLimit) {
    throw new ImageError(
      name,
      "too_large",
      `with ${image.width} x ${image.height} pixels it is too narrow: to cover ${size.width} x ${size.height} it ` +
        `would be scaled to ${scaled.width} x ${scaled.height}; cut it first`,
    );
  }
  const cut = cropImage(resizeArea(image, scaled), { ...size, left, top });
  const coloured = colour === null ? cut : changeColour(cut, colour);
  return isFlipped ? flipImage(coloured) : coloured;
}

/**
 * The same as what the VAE takes.
 *
 * @returns `[height, width, 3]`, f32 in [-1, 1].
 * @throws {ImageError} As {@linkcode prepareImage}.
 */
export async function prepareTensor(
  bytes: Uint8Array,
  name: string,
  preparation: Preparation,
): Promise<Float32Array<ArrayBuffer>> {
  return imageTensor(await prepareImage(bytes, name, preparation));
}
