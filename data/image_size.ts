import { open } from "node:fs/promises";
import sharp from "sharp";
import { bmpSize } from "./bmp.ts";
import { decodeImage, imageFormat, imagePixelLimit, missingImage, readImageBytes } from "./image.ts";
import { ImageError } from "./image_error.ts";
import type { ImageSize } from "./resize.ts";

/** Bytes that nearly always hold a picture's header with its EXIF data. */
const headBytes = 0x20000;
/** Files that are read at the same time. */
const readersAtOnce = 8;

/** The first bytes of a file, and whether they are all of it. */
async function readHead(path: string): Promise<{ head: Uint8Array; isWhole: boolean }> {
  let file;
  try {
    file = await open(path, "r");
  } catch (error) {
    throw missingImage(path, error);
  }
  try {
    const buffer = new Uint8Array(headBytes);
    let length = 0, isWhole = false;
    while (length < headBytes && !isWhole) {
      const { bytesRead } = await file.read(buffer, length, headBytes - length, length);
      length += bytesRead;
      isWhole = bytesRead === 0;
    }
    return { head: buffer.subarray(0, length), isWhole };
  } catch (error) {
    throw missingImage(path, error);
  } finally {
    await file.close();
  }
}

/** Width and height from a header, turned as EXIF says; none if the bytes do not tell. */
async function headerSize(bytes: Uint8Array, path: string): Promise<ImageSize | undefined> {
  const format = imageFormat(bytes);
  if (format === undefined) return undefined;
  if (format === "bmp") return bmpSize(bytes, path);
  const found = await sharp(bytes, { limitInputPixels: false }).metadata().catch(() => undefined);
  return found?.autoOrient;
}

/**
 * Size of a picture, turned as its EXIF orientation says; only the beginning of the file is read.
 *
 * @throws {ImageError} If the file cannot be opened, is no picture, or is larger than a picture may be. Damage behind
 * the header is not seen.
 */
export async function readImageSize(path: string): Promise<ImageSize> {
  const { head, isWhole } = await readHead(path);
  const size = await headerSize(head, path) ??
    (isWhole ? undefined : await headerSize(await readImageBytes(path), path));
  // What has no header that can be read cannot be decoded: this finds the words for it.
  if (size === undefined) return sizeOf(await decodeImage(await readImageBytes(path), path));
  if (size.width * size.height > imagePixelLimit) {
    const found = `it declares ${size.width} x ${size.height} pixels, more than ${imagePixelLimit}`;
    throw new ImageError(path, "too_large", found);
  }
  return sizeOf(size);
}

function sizeOf({ width, height }: ImageSize): ImageSize {
  return { width, height };
}

/** Sizes of many pictures, in their order. */
export async function readImageSizes(paths: readonly string[]): Promise<ImageSize[]> {
  const sizes = new Array<ImageSize>(paths.length);
  let next = 0;
  const reader = async () => {
    while (next < paths.length) {
      const at = next++;
      sizes[at] = await readImageSize(paths[at]);
    }
  };
  await Promise.all(Array.from({ length: readersAtOnce }, reader));
  return sizes;
}
