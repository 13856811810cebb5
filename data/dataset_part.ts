import { type BucketChoice, bucketSelector, nearestBucket } from "./buckets.ts";
import { regularizationRepeats } from "./regularization.ts";
import { checkImageSize, coverFit, type ImageSize } from "./resize.ts";
import type { DatasetSource, Subset, SubsetImage } from "./subset.ts";

/** A picture of a data set. */
export interface DatasetImage extends SubsetImage {
  /** The folder or metadata file it comes from, with its settings. */
  readonly subset: Subset;
  /** How often an epoch shows it; 0 for held-out pictures and for regularization pictures that are not needed. */
  readonly repeats: number;
  /** Kept for the validation loss. */
  readonly isHeldOut: boolean;
  /** Weight of its loss: 1, or the prior loss weight for regularization pictures. */
  readonly lossWeight: number;
  /** Size it is trained at. */
  readonly bucket: ImageSize;
  /** Size that the bucket scales it to before cutting. */
  readonly resized: ImageSize;
  /** Aspect ratio of the bucket minus its own. */
  readonly aspectError: number;
  /** Whether the bucket was chosen for it; otherwise all pictures have that size. */
  readonly isBucketed: boolean;
}

/** One size of pictures and what an epoch shows of it. */
export interface Bucket {
  readonly size: ImageSize;
  readonly batchSize: number;
  /** Each picture as often as it is shown; `item` numbers an epoch's samples over all buckets. */
  readonly entries: readonly { readonly image: DatasetImage; readonly item: number }[];
}

/** One of the data sets that a network learns from, sorted into buckets. */
export interface DatasetPart {
  readonly source: DatasetSource;
  /** All pictures, training before regularization, in the subsets' order. */
  readonly images: readonly DatasetImage[];
  /** By width, then height; none is empty. */
  readonly buckets: readonly Bucket[];
}

/** Samples in an epoch above which a number of repeats can only be a mistake. */
const sampleLimit = 100_000_000;

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

/** How a data set's pictures find their sizes; sizes that metadata give to all of them win. */
function chooserOf(
  { settings, subsets }: DatasetSource,
  name: string,
): { isBucketed: boolean; choose: (image: SubsetImage) => BucketChoice } {
  const { resolution, enableBucket, bucketNoUpscale } = settings, images = subsets.flatMap(({ images }) => images);
  if (images.length > 0 && images.every(({ bucket }) => bucket !== undefined)) {
    if (bucketNoUpscale) {
      throw new RangeError(
        `Cannot make the data set of ${name}: the metadata give each picture its size (train_resolution), so ` +
          "bucketNoUpscale cannot be used",
      );
    }
    const choose = ({ size, bucket }: SubsetImage) => {
      const { width, height } = coverFit(size, bucket!);
      return { bucket: bucket!, resized: { width, height }, aspectError: 0 };
    };
    return { isBucketed: true, choose };
  }
  if (resolution === null) {
    throw new RangeError(`Cannot make the data set of ${name}: resolution is missing; give width and height in pixels`);
  }
  const select = enableBucket ? bucketSelector({ ...settings, resolution }) : nearestBucket([resolution]);
  return { isBucketed: enableBucket, choose: ({ size }) => select(size) };
}

/**
 * Gives every picture of a data set its repeats and its bucket.
 *
 * @param heldOut Pictures that no epoch shows.
 * @param name Whose data it is, for errors.
 * @param firstItem Number of the first sample.
 * @throws {RangeError} If there are too many samples, or a size cannot be trained at.
 */
export function sortIntoBuckets(
  source: DatasetSource,
  heldOut: ReadonlySet<SubsetImage>,
  name: string,
  firstItem: number,
): DatasetPart {
  const { settings, subsets } = source;
  const train = subsets.filter((subset) => !subset.settings.isReg);
  const regularization = subsets.filter((subset) => subset.settings.isReg);
  const shown = train.map(({ images, settings: { numRepeats } }) => {
    return numRepeats * images.filter((image) => !heldOut.has(image)).length;
  });
  if (sum(shown) > sampleLimit) {
    throw new RangeError(
      `Cannot make the data set of ${name}: images times repeats make ${sum(shown)} samples an epoch, more than ` +
        `${sampleLimit}; see the repeats of ${train.map(({ path }) => path).join(", ")}`,
    );
  }
  const rounds = regularization.map(({ images, settings: { numRepeats } }) => {
    return { repeats: numRepeats, imageCount: images.length };
  });
  const repeats = regularizationRepeats(rounds, sum(shown));
  const { choose, isBucketed } = chooserOf(source, name);
  const place = (image: SubsetImage) => {
    try {
      return choose(image);
    } catch (error) {
      throw new RangeError(`Cannot find a bucket for ${image.path}: ${(error as Error).message}`, { cause: error });
    }
  };
  const make = (image: SubsetImage, subset: Subset, repeats: number, lossWeight: number): DatasetImage => {
    return { ...image, subset, repeats, isHeldOut: heldOut.has(image), lossWeight, isBucketed, ...place(image) };
  };
  const images = [
    ...train.flatMap((subset) =>
      subset.images.map((image) => make(image, subset, heldOut.has(image) ? 0 : subset.settings.numRepeats, 1))
    ),
    ...regularization.flatMap((subset) => subset.images.map((image) => ({ image, subset }))).map(
      ({ image, subset }, at) => make(image, subset, repeats[at], settings.priorLossWeight),
    ),
  ];
  return { source, images, buckets: bucketsOf(images, settings.batchSize, firstItem, name) };
}

function bucketsOf(images: readonly DatasetImage[], batchSize: number, firstItem: number, name: string): Bucket[] {
  const found = new Map<string, { size: ImageSize; entries: { image: DatasetImage; item: number }[] }>();
  let item = firstItem;
  for (const image of images) {
    if (image.repeats === 0) continue;
    const { width, height } = image.bucket, key = `${width} ${height}`;
    let bucket = found.get(key);
    if (!bucket) {
      checkImageSize(image.bucket, name);
      found.set(key, bucket = { size: image.bucket, entries: [] });
    }
    for (let time = 0; time < image.repeats; time++) bucket.entries.push({ image, item: item++ });
  }
  return [...found.values()]
    .sort(({ size: a }, { size: b }) => a.width - b.width || a.height - b.height)
    .map((bucket) => ({ ...bucket, batchSize }));
}
