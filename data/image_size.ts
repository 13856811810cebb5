import { Buffer } from "node:buffer";
import { type FileHandle, open } from "node:fs/promises";
import { imageSize } from "image-size";
import { loadSharp } from "./load_sharp.ts";
import { bmpSize } from "./bmp.ts";
import { decodeImage, imageFormat, imagePixelLimit, missingImage, readImageBytes } from "./image.ts";
import { ImageError } from "./image_error.ts";
import type { ImageSize } from "./resize.ts";

/** Bytes that nearly always hold what says the size, and bytes that nearly always hold a whole header with its EXIF data. */
const firstBytes = 0x2000, headBytes = 0x20000;
/** Files that are read at the same time. */
const readersAtOnce = 8;

/** Reads on into a buffer until it is full or the file ends; says how many bytes are in it then. */
async function fill(file: FileHandle, buffer: Uint8Array, length: number): Promise<number> {
  while (length < buffer.length) {
    const { bytesRead } = await file.read(buffer, length, buffer.length - length, length);
    if (bytesRead === 0) break;
    length += bytesRead;
  }
  return length;
}

/** Whether a PNG says before its pixels how it is to be turned, or may say so behind these bytes. */
function mayTurnPng(bytes: Uint8Array): boolean {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 8; at + 8 <= bytes.length; at += 12 + view.getUint32(at)) {
    const type = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    if (type === "IDAT" || type === "eXIf") return type === "eXIf";
  }
  return true;
}

/** Whether these bytes are the beginning of a picture of a usual kind that nothing turns. */
function isUpright(bytes: Uint8Array): boolean {
  const format = imageFormat(bytes);
  if (format === "png") return !mayTurnPng(bytes);
  // Of WebP's kinds, `VP8X` alone may be turned or move.
  if (format === "webp") return bytes[15] !== 0x58;
  return format === "jpeg" && !Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).includes("Exif");
}

/**
 * Width and height of most PNG, JPEG and WebP pictures, without sharp, which takes thirty times as long. None where there is doubt, or where EXIF turns
 * them: sharp decides then.
 */
function uprightSize(bytes: Uint8Array): ImageSize | undefined {
  if (!isUpright(bytes)) return undefined;
  try {
    const { width, height } = imageSize(bytes);
    return width > 0 && height > 0 ? { width, height } : undefined;
  } catch {
    // So it says that bytes are missing or contradict themselves.
    return undefined;
  }
}

/** Width and height from a header, turned as EXIF says; none if the bytes do not tell. */
async function headerSize(bytes: Uint8Array, path: string): Promise<ImageSize | undefined> {
  const format = imageFormat(bytes);
  if (format === undefined) return undefined;
  if (format === "bmp") return bmpSize(bytes, path);
  const sharp = await loadSharp();
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
  const size = await sizeFromHead(path) ?? await headerSize(await readImageBytes(path), path);
  // What has no header that can be read cannot be decoded: this finds the words for it.
  if (size === undefined) return sizeOf(await decodeImage(await readImageBytes(path), path));
  if (size.width * size.height > imagePixelLimit) {
    const found = `it declares ${size.width} x ${size.height} pixels, more than ${imagePixelLimit}`;
    throw new ImageError(path, "too_large", found);
  }
  return sizeOf(size);
}

/** The size that the first bytes of a file say; none if they do not tell. */
async function sizeFromHead(path: string): Promise<ImageSize | undefined> {
  const orMissing = (error: unknown): never => {
    throw missingImage(path, error);
  };
  const file = await open(path, "r").catch(orMissing);
  try {
    const first = new Uint8Array(firstBytes), { bytesRead } = await file.read(first, 0, firstBytes, 0).catch(orMissing);
    const size = uprightSize(first.subarray(0, bytesRead));
    if (size) return size;
    const head = new Uint8Array(headBytes);
    head.set(first.subarray(0, bytesRead));
    const bytes = head.subarray(0, await fill(file, head, bytesRead).catch(orMissing));
    return uprightSize(bytes) ?? await headerSize(bytes, path);
  } finally {
    await file.close();
  }
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
