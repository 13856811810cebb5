/**
 * Reading pictures: any of PNG, JPEG, WebP, BMP, GIF, TIFF and AVIF to plain RGB bytes.
 *
 * What comes out is what Pillow's `convert("RGB")` gives: alpha is dropped and not blended (the colour under
 * transparent pixels shows), colour profiles are ignored, CMYK is converted by plain arithmetic, of an animation the
 * first frame is taken. Two things differ from it on purpose: EXIF orientation is honoured, and 16-bit grey keeps its
 * range (the high byte).
 *
 * @module
 */
import { readFile } from "node:fs/promises";
import { loadSharp } from "./load_sharp.ts";
import { decodeBmp, type RgbImage } from "./bmp.ts";
import { ImageError } from "./image_error.ts";

export type { RgbImage };

/** Most pixels a picture may have: a file of a hundred bytes can declare billions. */
export const imagePixelLimit = 0x3fff * 0x3fff;

/** Formats that are read. */
export type ImageFormat = "png" | "jpeg" | "webp" | "gif" | "bmp" | "tiff" | "avif";

function hasText(bytes: Uint8Array, offset: number, text: string): boolean {
  if (bytes.length < offset + text.length) return false;
  return [...text].every((character, index) => bytes[offset + index] === character.charCodeAt(0));
}

/** The format that the first bytes tell; a file's extension says nothing sure. */
export function imageFormat(bytes: Uint8Array): ImageFormat | undefined {
  if (hasText(bytes, 0, "\x89PNG\r\n\x1a\n")) return "png";
  if (hasText(bytes, 0, "\xff\xd8\xff")) return "jpeg";
  if (hasText(bytes, 0, "RIFF") && hasText(bytes, 8, "WEBP")) return "webp";
  if (hasText(bytes, 0, "GIF87a") || hasText(bytes, 0, "GIF89a")) return "gif";
  if (hasText(bytes, 0, "BM")) return "bmp";
  if (hasText(bytes, 0, "II*\0") || hasText(bytes, 0, "MM\0*")) return "tiff";
  if (hasText(bytes, 4, "ftypavi") || hasText(bytes, 4, "ftypmif1")) return "avif";
  return undefined;
}

/** Whether a JPEG has its end mark; entropy-coded data never hold these two bytes in a row. */
function endsJpeg(bytes: Uint8Array): boolean {
  for (let at = 2; at + 1 < bytes.length; at++) {
    if (bytes[at] === 0xff && bytes[at + 1] === 0xd9) return true;
  }
  return false;
}

/** Whether a picture that does not decode ends before its format's end mark. */
function isCutOff(bytes: Uint8Array, format: ImageFormat): boolean {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (format === "jpeg") return !endsJpeg(bytes);
  if (format === "webp") return bytes.length < view.getUint32(4, true) + 8;
  if (format === "gif") return bytes.at(-1) !== 0x3b;
  if (format !== "png") return false;
  let at = 8;
  while (at + 12 <= bytes.length) {
    const end = at + 12 + view.getUint32(at);
    if (end <= bytes.length && hasText(bytes, at + 4, "IEND")) return false;
    at = end;
  }
  return true;
}

/** CMYK to RGB as Pillow does it: each ink's share of what black leaves. */
function rgbFromCmyk(inks: Uint8Array): Uint8Array {
  const pixels = new Uint8Array(inks.length / 4 * 3);
  for (let from = 0, to = 0; from < inks.length; from += 4, to += 3) {
    const light = 255 - inks[from + 3];
    for (let channel = 0; channel < 3; channel++) {
      pixels[to + channel] = light - Math.round(inks[from + channel] * light / 255);
    }
  }
  return pixels;
}

async function decodeWithSharp(bytes: Uint8Array): Promise<RgbImage> {
  const sharp = await loadSharp();
  const image = sharp(bytes, { ignoreIcc: true, limitInputPixels: imagePixelLimit, failOn: "warning" });
  const isCmyk = (await image.metadata()).space === "cmyk";
  const space = isCmyk ? "cmyk" : "srgb";
  const { data, info } = await image.autoOrient().pipelineColourspace(space).toColourspace(space).removeAlpha()
    .raw({ depth: "uchar" }).toBuffer({ resolveWithObject: true });
  const pixels = new Uint8Array(data.buffer, data.byteOffset, data.length);
  return { width: info.width, height: info.height, pixels: isCmyk ? rgbFromCmyk(pixels) : pixels };
}

/**
 * Decodes a picture to RGB, turned as its EXIF orientation says.
 *
 * @param bytes Content of the file.
 * @param name The file's path, for errors.
 * @throws {ImageError} If the picture cannot be read: the error names the file, the kind of fault and the reason.
 */
export async function decodeImage(bytes: Uint8Array, name: string): Promise<RgbImage> {
  if (bytes.length === 0) throw new ImageError(name, "empty", "the file has 0 bytes");
  const format = imageFormat(bytes);
  if (format === undefined) {
    throw new ImageError(
      name,
      "not_image",
      "its first bytes are not those of a PNG, JPEG, WebP, BMP, GIF, TIFF or AVIF",
    );
  }
  if (format === "bmp") return decodeBmp(bytes, name, { pixelLimit: imagePixelLimit });
  try {
    return await decodeWithSharp(bytes);
  } catch (error) {
    const detail = (error instanceof Error ? error.message : String(error)).replaceAll(/\s*\n\s*/g, "; ");
    if (/pixel limit/i.test(detail)) {
      throw new ImageError(name, "too_large", `it declares more than ${imagePixelLimit} pixels`, { cause: error });
    }
    if (isCutOff(bytes, format)) {
      const found = `the ${format.toUpperCase()} data end too early, after ${bytes.length} bytes`;
      throw new ImageError(name, "truncated", `${found}; fetch or export it again`, { cause: error });
    }
    throw new ImageError(name, "damaged", `the ${format.toUpperCase()} data are damaged (${detail})`, { cause: error });
  }
}

/** The error for a file that cannot be opened or read. */
export function missingImage(path: string, cause: unknown): ImageError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new ImageError(path, "missing", `the file cannot be opened (${reason})`, { cause });
}

/**
 * Reads a picture file's bytes.
 *
 * @throws {ImageError} If there is no such file, or it may not be read.
 */
export async function readImageBytes(path: string): Promise<Uint8Array> {
  try {
    const buffer = await readFile(path);
    return new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.length);
  } catch (error) {
    throw missingImage(path, error);
  }
}

/**
 * Reads a picture file to RGB, turned as its EXIF orientation says.
 *
 * @throws {ImageError} If the file is missing or its content cannot be read.
 */
export async function readImage(path: string): Promise<RgbImage> {
  return await decodeImage(await readImageBytes(path), path);
}
