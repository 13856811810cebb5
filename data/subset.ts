import type { CaptionOptions } from "./caption.ts";
import type { DatasetOptions, SubsetDefaults, SubsetOptions } from "./dataset_options.ts";
import type { ImageSize } from "./resize.ts";

/** All settings of a subset, defaults filled in. */
export interface SubsetSettings extends Required<CaptionOptions> {
  readonly numRepeats: number;
  readonly isReg: boolean;
  /** Null: none. */
  readonly classTokens: string | null;
  /** Null: `.caption`, then `.txt`. */
  readonly captionExtension: string | null;
  readonly flipAug: boolean;
  readonly colorAug: boolean;
  readonly randomCrop: boolean;
  readonly faceCropAugRange: readonly [number, number] | null;
}

/** All settings that a data set's subsets share, defaults filled in. */
export interface DatasetSettings {
  /** Null: what the metadata say for each picture. */
  readonly resolution: ImageSize | null;
  readonly batchSize: number;
  readonly enableBucket: boolean;
  readonly minBucketReso: number;
  readonly maxBucketReso: number;
  readonly bucketResoSteps: number;
  readonly bucketNoUpscale: boolean;
  readonly priorLossWeight: number;
}

/** A picture as it was found. */
export interface SubsetImage {
  /** Of the picture; where there is none, of the latents that sd-scripts made of it. */
  readonly path: string;
  /** Whether there are latents alone. */
  readonly isLatents?: boolean;
  /** Its caption before shuffling and dropout. */
  readonly caption: string;
  /** Text whose tags count for the metadata's tag frequency; absent if none do. */
  readonly countedTags?: string;
  /** Size in pixels, turned as EXIF says. */
  readonly size: ImageSize;
  /** Bucket that metadata give it. */
  readonly bucket?: ImageSize;
}

/** One folder or metadata file with its pictures and how they are shown. */
export interface Subset {
  /** The folder, or the metadata file. */
  readonly path: string;
  readonly kind: "folder" | "metadata";
  readonly settings: SubsetSettings;
  readonly images: readonly SubsetImage[];
}

/** Subsets whose pictures share sizes and batches: what a `Dataset` is made of. */
export interface DatasetSource {
  readonly settings: DatasetSettings;
  readonly subsets: readonly Subset[];
}

type Refuse = (name: string, found: unknown, wanted: string) => never;

/** Makes errors for one data set's or subset's settings. */
function refuser(where: string): Refuse {
  return (name, found, wanted) => {
    throw new RangeError(`Cannot use the data of ${where}: ${name} is ${JSON.stringify(found)}, must be ${wanted}`);
  };
}

/**
 * A subset's settings: its own, then those of the data set, then the defaults.
 *
 * @param where What they belong to, for errors: "network 1, data/cats".
 * @throws {RangeError} If a value is out of range.
 */
export function subsetSettings(subset: SubsetOptions, defaults: SubsetDefaults, where: string): SubsetSettings {
  const own = Object.fromEntries(Object.entries(subset).filter(([, value]) => value !== undefined));
  const given: SubsetOptions = { ...defaults, ...own };
  const settings: SubsetSettings = {
    numRepeats: given.numRepeats ?? 1,
    isReg: given.isReg ?? false,
    classTokens: given.classTokens ?? null,
    captionExtension: given.captionExtension ?? null,
    shuffleCaption: given.shuffleCaption ?? false,
    // As in sd-scripts, a number below 0 keeps none.
    keepTokens: Math.max(0, given.keepTokens ?? 0),
    captionDropoutRate: given.captionDropoutRate ?? 0,
    captionDropoutEveryNEpochs: given.captionDropoutEveryNEpochs ?? 0,
    captionTagDropoutRate: given.captionTagDropoutRate ?? 0,
    tokenWarmupMin: given.tokenWarmupMin ?? 1,
    tokenWarmupStep: given.tokenWarmupStep ?? 0,
    flipAug: given.flipAug ?? false,
    colorAug: given.colorAug ?? false,
    randomCrop: given.randomCrop ?? false,
    faceCropAugRange: given.faceCropAugRange ?? null,
  };
  const refuse = refuser(where);
  const { numRepeats, keepTokens, captionDropoutEveryNEpochs, tokenWarmupMin, tokenWarmupStep } = settings;
  for (const [name, value] of Object.entries({ numRepeats, keepTokens })) {
    if (!Number.isInteger(value)) refuse(name, value, "a whole number");
  }
  for (const [name, value] of Object.entries({ captionDropoutEveryNEpochs, tokenWarmupMin })) {
    if (!Number.isInteger(value) || value < 0) refuse(name, value, "a whole number from 0 on");
  }
  const { captionDropoutRate, captionTagDropoutRate, faceCropAugRange } = settings;
  for (const [name, value] of Object.entries({ captionDropoutRate, captionTagDropoutRate })) {
    if (!(value >= 0 && value <= 1)) refuse(name, value, "a number from 0 to 1");
  }
  if (!(tokenWarmupStep >= 0 && Number.isFinite(tokenWarmupStep))) {
    refuse("tokenWarmupStep", tokenWarmupStep, "a number from 0 on");
  }
  if (faceCropAugRange !== null) {
    const [least, most] = faceCropAugRange;
    const isRange = faceCropAugRange.length === 2 && least > 0 && least <= most && Number.isFinite(most);
    if (!isRange) refuse("faceCropAugRange", faceCropAugRange, "two numbers above 0, the smaller one first");
  }
  return settings;
}

/**
 * A data set's settings with the defaults filled in.
 *
 * @param where What they belong to, for errors: "network 1".
 * @throws {RangeError} If a value is out of range.
 */
export function datasetSettings(options: DatasetOptions, where: string): DatasetSettings {
  const { resolution, batchSize = 1, priorLossWeight = 1 } = options, refuse = refuser(where);
  const [width, height] = typeof resolution === "object" ? resolution : [resolution, resolution];
  for (const side of resolution === undefined ? [] : [width, height]) {
    if (!Number.isInteger(side) || side! < 1) {
      refuse("resolution", resolution, "a whole number of pixels, or width and height");
    }
  }
  if (!Number.isInteger(batchSize) || batchSize < 1) refuse("batchSize", batchSize, "a whole number above 0");
  if (!Number.isFinite(priorLossWeight) || priorLossWeight < 0) {
    refuse("priorLossWeight", priorLossWeight, "a number from 0 on");
  }
  return {
    resolution: width === undefined || height === undefined ? null : { width, height },
    batchSize,
    enableBucket: options.enableBucket ?? false,
    minBucketReso: options.minBucketReso ?? 256,
    maxBucketReso: options.maxBucketReso ?? 1024,
    bucketResoSteps: options.bucketResoSteps ?? 64,
    bucketNoUpscale: options.bucketNoUpscale ?? false,
    priorLossWeight,
  };
}
