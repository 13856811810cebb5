/**
 * Aspect buckets: sizes of nearly equal area, to the nearest of which each picture is scaled and cut. The arithmetic is
 * sd-scripts'.
 *
 * @module
 */
import { coverFit, type ImageSize } from "./resize.ts";

/** How buckets are made. */
export interface BucketSettings {
  /** Width and height that give the area. */
  readonly resolution: ImageSize;
  /** Shortest side of a bucket, in pixels. */
  readonly minBucketReso: number;
  /** Longest side of a bucket, in pixels. */
  readonly maxBucketReso: number;
  /** Sides are multiples of so many pixels. */
  readonly bucketResoSteps: number;
  /** Makes buckets from the pictures' own sizes: none is enlarged, and shortest and longest side do not count. */
  readonly bucketNoUpscale: boolean;
}

/** Where a picture goes: scaled to `resized`, then cut to `bucket`. */
export interface BucketChoice {
  readonly bucket: ImageSize;
  readonly resized: ImageSize;
  /** Aspect ratio of the bucket minus that of the picture. */
  readonly aspectError: number;
}

/** Chooses a bucket for a picture's size; throws a RangeError that says why if there is none. */
export type BucketSelector = (image: ImageSize) => BucketChoice;

function sizeText({ width, height }: ImageSize): string {
  return `${width} x ${height}`;
}

/**
 * All buckets that pictures can be sorted into, by width, then height.
 *
 * @throws {RangeError} If the steps are larger than a side.
 * @example
 * ```ts
 * import { deepEqual } from "node:assert/strict";
 * const resolution = { width: 128, height: 128 }, limits = { minBucketReso: 64, maxBucketReso: 256 };
 * const sizes = bucketSizes({ resolution, ...limits, bucketResoSteps: 64, bucketNoUpscale: false });
 * deepEqual(sizes.map(({ width, height }) => `${width}x${height}`), ["64x192", "64x256", "128x128", "192x64", "256x64"]);
 * ```
 */
export function bucketSizes(settings: BucketSettings): ImageSize[] {
  const { resolution, minBucketReso, maxBucketReso, bucketResoSteps: steps } = settings;
  const area = Math.floor(resolution.width / steps) * Math.floor(resolution.height / steps);
  const found = new Map<string, ImageSize>();
  const add = (width: number, height: number) => {
    if (width > 0 && height > 0 && minBucketReso >= steps) return found.set(`${width} ${height}`, { width, height });
    const limits = `minBucketReso ${minBucketReso}, maxBucketReso ${maxBucketReso}`;
    throw new RangeError(
      `Cannot make buckets: bucketResoSteps is ${steps}, too much for a resolution of ${sizeText(resolution)} with ` +
        `${limits}: a side would be 0 pixels long`,
    );
  };
  const square = Math.floor(Math.sqrt(area)) * steps;
  add(square, square);
  for (let side = minBucketReso; side <= maxBucketReso; side += steps) {
    const other = Math.min(maxBucketReso, Math.floor(area / Math.floor(side / steps)) * steps);
    add(side, other);
    add(other, side);
  }
  return [...found.values()].sort((a, b) => a.width - b.width || a.height - b.height);
}

/** Takes the one of fixed sizes whose aspect ratio is nearest: the first of equally near ones. A picture of just one of these sizes keeps it. */
export function nearestBucket(sizes: readonly ImageSize[]): BucketSelector {
  const own = new Map(sizes.map((size) => [sizeText(size), size]));
  const aspects = sizes.map(({ width, height }) => width / height);
  return (image) => {
    const aspect = image.width / image.height;
    let nearest = 0;
    for (let at = 1; at < aspects.length; at++) {
      if (Math.abs(aspects[at] - aspect) < Math.abs(aspects[nearest] - aspect)) nearest = at;
    }
    const bucket = own.get(sizeText(image)) ?? sizes[nearest];
    const { width, height } = coverFit(image, bucket);
    return { bucket, resized: { width, height }, aspectError: bucket.width / bucket.height - aspect };
  };
}

/** Makes a bucket for each picture from its own size: scaled down to the area if it is larger, then cut to whole steps. */
function ownBucket({ resolution, bucketResoSteps: steps }: BucketSettings): BucketSelector {
  const area = resolution.width * resolution.height;
  const rounded = (side: number) => Math.floor((side + 0.5) / steps) * steps;
  return (image) => {
    const aspect = image.width / image.height;
    let resized: ImageSize = { width: image.width, height: image.height };
    if (image.width * image.height > area) {
      const exactWidth = Math.sqrt(area * aspect), exactHeight = area / exactWidth;
      const width = rounded(exactWidth), height = rounded(exactHeight);
      // One side becomes whole steps: the one that leaves the better aspect ratio once the other is whole, too.
      const byWidth = width / rounded(width / aspect), byHeight = rounded(height * aspect) / height;
      resized = Math.abs(byWidth - aspect) < Math.abs(byHeight - aspect)
        ? { width, height: Math.floor(width / aspect + 0.5) }
        : { width: Math.floor(height * aspect + 0.5), height };
    }
    const bucket = {
      width: resized.width - resized.width % steps,
      height: resized.height - resized.height % steps,
    };
    // Not a number where no whole step was left above.
    if (!(bucket.width > 0 && bucket.height > 0)) {
      throw new RangeError(
        `of ${sizeText(image)} pixels, it is too small or too narrow for buckets that are not enlarged: a side would ` +
          `be shorter than bucketResoSteps, ${steps}; enlarge or cut it, or leave bucketNoUpscale out`,
      );
    }
    return { bucket, resized, aspectError: bucket.width / bucket.height - aspect };
  };
}

/**
 * How pictures find their buckets under these settings.
 *
 * @throws {RangeError} If a number is out of range.
 */
export function bucketSelector(settings: BucketSettings): BucketSelector {
  const { resolution, minBucketReso, maxBucketReso, bucketResoSteps, bucketNoUpscale } = settings;
  for (const [name, value] of Object.entries({ minBucketReso, maxBucketReso, bucketResoSteps })) {
    if (!Number.isInteger(value) || value < 1) {
      throw new RangeError(`Cannot make buckets: ${name} is ${value}, must be a whole number above 0`);
    }
  }
  if (Math.min(resolution.width, resolution.height) < minBucketReso) {
    throw new RangeError(
      `Cannot make buckets: minBucketReso is ${minBucketReso}, must be at most the shorter side of the resolution, ` +
        `${sizeText(resolution)}`,
    );
  }
  if (Math.max(resolution.width, resolution.height) > maxBucketReso) {
    throw new RangeError(
      `Cannot make buckets: maxBucketReso is ${maxBucketReso}, must be at least the longer side of the resolution, ` +
        `${sizeText(resolution)}`,
    );
  }
  return bucketNoUpscale ? ownBucket(settings) : nearestBucket(bucketSizes(settings));
}
