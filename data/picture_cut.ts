/**
 * Where a picture is cut: the middle, a place drawn for the sample, or around a face.
 *
 * @module
 */
import { parse } from "node:path";
import type { RandomStream } from "../random/philox.ts";
import { coverFit, type ImageSize } from "./resize.ts";

/** What becomes of a picture: scaled to `scaled`, then cut to `size` from `left`, `top` on. */
export interface PictureCut {
  readonly scaled: ImageSize;
  readonly left: number;
  readonly top: number;
  readonly size: ImageSize;
}

/** How a subset's pictures are cut. */
export interface CutSettings {
  readonly randomCrop: boolean;
  /** Sizes between which a face is scaled, as multiples: the shorter side of the cut is so many faces long. */
  readonly faceCropAugRange: readonly [number, number] | null;
}

/** A face in a picture: its middle and size in pixels. */
export interface Face {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

/**
 * The face that a file's name tells: four numbers after underscores at its end, the middle's place and the size.
 *
 * @example
 * ```ts
 * import { deepEqual, equal } from "node:assert/strict";
 * deepEqual(faceOf("a/girl_120_80_40_50.png"), { x: 120, y: 80, width: 40, height: 50 });
 * equal(faceOf("a/girl_0_0_0_0.png"), undefined);
 * ```
 */
export function faceOf(path: string): Face | undefined {
  const found = /_(\d+)_(\d+)_(\d+)_(\d+)$/u.exec(parse(path).name);
  if (found === null) return undefined;
  const [x, y, width, height] = found.slice(1).map(Number);
  return x > 0 && Math.max(width, height) > 0 ? { x, y, width, height } : undefined;
}

/** Scaled by the aspect ratio and cut in the middle. */
export function middleCut(scaled: ImageSize, size: ImageSize): PictureCut {
  return {
    scaled: { width: scaled.width, height: scaled.height },
    left: Math.floor((scaled.width - size.width) / 2),
    top: Math.floor((scaled.height - size.height) / 2),
    size,
  };
}

/** Cut at a place drawn evenly from all there are. */
function randomCut(scaled: ImageSize, size: ImageSize, random: RandomStream): PictureCut {
  const left = random.nextInteger(scaled.width - size.width + 1);
  const top = random.nextInteger(scaled.height - size.height + 1);
  return { scaled: { width: scaled.width, height: scaled.height }, left, top, size };
}

/** A whole number from least to most, both included. */
function between(random: RandomStream, least: number, most: number): number {
  return least + random.nextInteger(most - least + 1);
}

/**
 * Scales so that the face has a size within the range, and cuts around it: with `randomCrop` anywhere, more often near
 * the face; without it up to a twentieth of its size beside it.
 */
function faceCut(
  image: ImageSize,
  size: ImageSize,
  face: Face,
  settings: CutSettings,
  random: RandomStream,
): PictureCut {
  if (image.width === size.width && image.height === size.height) return middleCut(image, size);
  const [least, most] = settings.faceCropAugRange!, faceSize = Math.max(face.width, face.height);
  const shorter = Math.min(size.width, size.height);
  const covering = Math.max(size.width / image.width, size.height / image.height);
  // Nothing is enlarged, unless the picture would not cover the cut.
  const largest = Math.max(1, covering);
  const lowest = Math.min(largest, Math.max(covering, shorter / (faceSize * most)));
  const highest = Math.min(largest, Math.max(lowest, shorter / (faceSize * least)));
  const scale = lowest + (highest - lowest) * (lowest < highest ? random.nextFloat() : 0);
  const scaledSide = (side: number) => Math.floor(side * scale + 0.5);
  const scaled = { width: scaledSide(image.width), height: scaledSide(image.height) };
  const place = (length: number, target: number, middle: number): number => {
    let start = scaledSide(middle) - Math.floor(target / 2);
    if (settings.randomCrop) {
      const reach = Math.max(length - scaledSide(middle), scaledSide(middle));
      start += between(random, 0, reach) + between(random, 0, reach) - reach;
    } else if (least !== most && faceSize > Math.floor(shorter / 10) && faceSize >= 40) {
      start += between(random, Math.floor(-faceSize / 20), Math.floor(faceSize / 20));
    }
    return Math.max(0, Math.min(start, length - target));
  };
  const top = place(scaled.height, size.height, face.y);
  return { scaled, left: place(scaled.width, size.width, face.x), top, size };
}

/**
 * Cuts a picture that was sorted into a bucket.
 *
 * @param resized What the bucket scales it to.
 */
export function bucketCut(
  resized: ImageSize,
  bucket: ImageSize,
  settings: CutSettings,
  random: RandomStream,
): PictureCut {
  return settings.randomCrop ? randomCut(resized, bucket, random) : middleCut(resized, bucket);
}

/**
 * Cuts a picture where all have one size, with sd-scripts' rules: around a face if there is one and a range is given;
 * with `randomCrop` out of the picture as it is, if it is large enough; else scaled to cover the size.
 *
 * @param path The file, whose name may tell a face.
 */
export function plainCut(
  image: ImageSize,
  path: string,
  size: ImageSize,
  settings: CutSettings,
  random: RandomStream,
): PictureCut {
  const face = settings.faceCropAugRange === null ? undefined : faceOf(path);
  if (face !== undefined) return faceCut(image, size, face, settings, random);
  const covering = coverFit(image, size);
  if (!settings.randomCrop) return middleCut(covering, size);
  const isLarge = image.width >= size.width && image.height >= size.height;
  return randomCut(isLarge ? image : covering, size, random);
}
