/**
 * One size for every picture of a data set: scaled to cover it with the picture's own aspect ratio, then cropped.
 *
 * The filter is OpenCV's INTER_AREA, which sd-scripts uses, in plain arithmetic: shrinking averages the covered source
 * area; enlarging (on either axis) interpolates between two neighbours, with OpenCV's weights for this mode.
 *
 * @module
 */
import type { RgbImage } from "./bmp.ts";

/** Width and height in pixels. */
export interface ImageSize {
  readonly width: number;
  readonly height: number;
}

/** Where a picture goes: scaled to `width` x `height`, then cut at `left`, `top`. */
export interface CoverFit extends ImageSize {
  readonly left: number;
  readonly top: number;
}

/** One latent stands for so many pixels, along each side. */
const pixelsPerCell = 8;

/** Latent cells along a side of so many pixels: what is left behind the last whole one has none, as in diffusers' VAE. */
export function latentCells(pixels: number): number {
  return Math.floor(pixels / pixelsPerCell);
}

/**
 * Checks that a size can be trained at.
 *
 * @param what Name of the data set or flag, for the error.
 * @throws {RangeError} If a side is no whole number of pixels, or too short for a latent.
 * @example
 * ```ts
 * import { throws } from "node:assert/strict";
 * checkImageSize({ width: 500, height: 384 }, "network 1");
 * throws(() => checkImageSize({ width: 7, height: 512 }, "network 1"), RangeError);
 * ```
 */
export function checkImageSize(size: ImageSize, what: string): void {
  const { width, height } = size;
  if ([width, height].every((side) => Number.isInteger(side) && side >= pixelsPerCell)) return;
  throw new RangeError(
    `Cannot use the image size ${width} x ${height} of ${what}: both sides must be whole numbers of pixels, ` +
      `${pixelsPerCell} at least`,
  );
}

/**
 * Scaled size and centred cut of a picture that has to cover a target; the arithmetic is sd-scripts'.
 *
 * @example A wide picture loses its sides
 * ```ts
 * import { deepEqual } from "node:assert/strict";
 * const fit = coverFit({ width: 1920, height: 1080 }, { width: 512, height: 384 });
 * deepEqual(fit, { width: 683, height: 384, left: 85, top: 0 });
 * ```
 */
export function coverFit(source: ImageSize, target: ImageSize): CoverFit {
  const isWider = source.width / source.height > target.width / target.height;
  const scale = isWider ? target.height / source.height : target.width / source.width;
  const width = Math.max(target.width, Math.floor(source.width * scale + 0.5));
  const height = Math.max(target.height, Math.floor(source.height * scale + 0.5));
  return {
    width,
    height,
    left: Math.floor((width - target.width) / 2),
    top: Math.floor((height - target.height) / 2),
  };
}

/** The source pixels that make one target pixel along an axis, and their weights, which sum to 1. */
interface Taps {
  readonly first: number;
  readonly weights: readonly number[];
}

function shrinkingTaps(length: number, target: number): Taps[] {
  const scale = length / target;
  return Array.from({ length: target }, (_, place) => {
    const from = place * scale;
    const to = Math.min(length, from + scale);
    const first = Math.floor(from);
    const weights: number[] = [];
    for (let at = first; at < to; at++) weights.push(Math.min(at + 1, to) - Math.max(at, from));
    const sum = weights.reduce((total, weight) => total + weight, 0);
    return { first, weights: weights.map((weight) => weight / sum) };
  });
}

function enlargingTaps(length: number, target: number): Taps[] {
  const scale = length / target;
  return Array.from({ length: target }, (_, place) => {
    const first = Math.floor(place * scale);
    if (first >= length - 1) return { first: length - 1, weights: [1] };
    const second = Math.max(0, place + 1 - (first + 1) / scale);
    return { first, weights: [1 - second, second] };
  });
}

/** Scales every row: `[rows, length, 3]` bytes to `[rows, targets, 3]`. */
function scaleRows(pixels: Uint8Array, rows: number, length: number, taps: readonly Taps[]): Float32Array {
  const result = new Float32Array(rows * taps.length * 3);
  // Column by column, so that a column's weights are looked up once; a picture's rows are far shorter than a cache.
  for (const [place, { first, weights }] of taps.entries()) {
    for (let row = 0; row < rows; row++) {
      let from = (row * length + first) * 3, red = 0, green = 0, blue = 0;
      for (let tap = 0; tap < weights.length; tap++, from += 3) {
        const weight = weights[tap];
        red += pixels[from] * weight;
        green += pixels[from + 1] * weight;
        blue += pixels[from + 2] * weight;
      }
      const to = (row * taps.length + place) * 3;
      result[to] = red;
      result[to + 1] = green;
      result[to + 2] = blue;
    }
  }
  return result;
}

/** Scales every column, and rounds: `[length, inner]` to `[targets, inner]` bytes. */
function scaleColumns(source: Float32Array, inner: number, taps: readonly Taps[]): Uint8Array<ArrayBuffer> {
  const result = new Uint8Array(taps.length * inner), sums = new Float64Array(inner);
  for (const [place, { first, weights }] of taps.entries()) {
    sums.fill(0);
    for (let tap = 0; tap < weights.length; tap++) {
      const weight = weights[tap], from = (first + tap) * inner;
      for (let at = 0; at < inner; at++) sums[at] += source[from + at] * weight;
    }
    const to = place * inner;
    for (let at = 0; at < inner; at++) result[to + at] = Math.round(sums[at]);
  }
  return result;
}

/** Scales a picture to a size, whatever its aspect ratio, with OpenCV's INTER_AREA. */
export function resizeArea(image: RgbImage, size: ImageSize): RgbImage {
  if (image.width === size.width && image.height === size.height) return image;
  const shrinks = size.width <= image.width && size.height <= image.height;
  const taps = shrinks ? shrinkingTaps : enlargingTaps;
  const wide = scaleRows(image.pixels, image.height, image.width, taps(image.width, size.width));
  return { ...size, pixels: scaleColumns(wide, size.width * 3, taps(image.height, size.height)) };
}

/**
 * Cuts a rectangle out of a picture.
 *
 * @throws {RangeError} If the rectangle reaches beyond the picture.
 */
export function cropImage(image: RgbImage, rectangle: CoverFit): RgbImage {
  const { left, top, width, height } = rectangle;
  if (left < 0 || top < 0 || left + width > image.width || top + height > image.height) {
    const wanted = `${width} x ${height} at ${left}, ${top}`;
    throw new RangeError(`Cannot cut ${wanted}: it reaches beyond the picture of ${image.width} x ${image.height}`);
  }
  const pixels = new Uint8Array(width * height * 3);
  for (let row = 0; row < height; row++) {
    const from = ((top + row) * image.width + left) * 3;
    pixels.set(image.pixels.subarray(from, from + width * 3), row * width * 3);
  }
  return { width, height, pixels };
}

/** Mirrors a picture left to right. */
export function flipImage(image: RgbImage): RgbImage {
  const { width, height } = image;
  const pixels = new Uint8Array(image.pixels.length);
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      const from = (row * width + column) * 3;
      pixels.set(image.pixels.subarray(from, from + 3), (row * width + width - 1 - column) * 3);
    }
  }
  return { width, height, pixels };
}

/** Every byte's value in [-1, 1], rounded to f32 after each operation, as PyTorch computes it. */
const scaledBytes = Float32Array.from(
  { length: 256 },
  (_, value) => Math.fround(Math.fround(Math.fround(value / 255) - 0.5) / 0.5),
);

/**
 * A picture as the VAE takes it: value / 255 * 2 - 1.
 *
 * @returns `[height, width, 3]`, f32 in [-1, 1].
 * @example
 * ```ts
 * import { deepEqual } from "node:assert/strict";
 * const image = { width: 1, height: 1, pixels: new Uint8Array([0, 51, 255]) };
 * deepEqual([...imageTensor(image)].map((value) => value.toFixed(6)), ["-1.000000", "-0.600000", "1.000000"]);
 * ```
 */
export function imageTensor(image: RgbImage): Float32Array<ArrayBuffer> {
  const tensor = new Float32Array(image.pixels.length);
  for (let at = 0; at < tensor.length; at++) tensor[at] = scaledBytes[image.pixels[at]];
  return tensor;
}
