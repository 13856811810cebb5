/**
 * The data set of one network: which pictures an epoch shows, in which order, with which captions and loss weights.
 *
 * @module
 */
import { type CaptionOptions, processCaption } from "./caption.ts";
import type { DreamboothFolder } from "./dreambooth_folder.ts";
import { RandomStream } from "../random/philox.ts";
import { checkImageSize } from "./resize.ts";

/** A picture of a data set. */
export interface DatasetImage {
  readonly path: string;
  /** Its caption before shuffling and dropout. */
  readonly caption: string;
  readonly isRegularization: boolean;
  /** How often an epoch shows it; 0 for regularization images that are not needed. */
  readonly repeats: number;
  /** Weight of its loss: 1, or the prior loss weight for regularization images. */
  readonly lossWeight: number;
}

/** One picture in a batch. */
export interface Sample {
  readonly image: DatasetImage;
  /** Caption to train with, after shuffling and dropout. */
  readonly caption: string;
  /** Whether the picture is mirrored. */
  readonly isFlipped: boolean;
}

/** Samples that are trained together, all of the data set's size. */
export type Batch = readonly Sample[];

/** Options of a {@linkcode Dataset}. */
export interface DatasetOptions {
  /** Name for messages, such as "network 1". */
  readonly name: string;
  /** Width in pixels, a multiple of 64. */
  readonly width: number;
  /** Height in pixels, a multiple of 64. */
  readonly height: number;
  readonly batchSize: number;
  /** Seed of the run. */
  readonly seed: number;
  /** Tells data sets of one run apart, so that equal ones are shuffled differently: 0 to 65535, by default 0. */
  readonly stream?: number;
  /** Weight of the loss of regularization images; by default 1. */
  readonly priorLossWeight?: number;
  /** Mirrors each sample with a probability of one half. */
  readonly flipAugmentation?: boolean;
  readonly captions?: CaptionOptions;
  /** Steps of the whole run; only captions whose warm-up is given as a share need it. */
  readonly maxTrainSteps?: number;
}

/** Figures of a data set. */
export interface DatasetDescription {
  readonly name: string;
  readonly width: number;
  readonly height: number;
  readonly batchSize: number;
  /** Training pictures. */
  readonly trainImages: number;
  /** Training pictures times their folders' repeats: what an epoch shows of them. */
  readonly trainSamples: number;
  /** Regularization pictures in all folders. */
  readonly regularizationImages: number;
  /** Regularization pictures that no epoch shows. */
  readonly regularizationUnused: number;
  /** Regularization samples in an epoch. */
  readonly regularizationSamples: number;
  readonly batchesPerEpoch: number;
  readonly folders: readonly {
    readonly path: string;
    readonly repeats: number;
    readonly images: number;
    readonly classTokens: string;
    readonly isRegularization: boolean;
  }[];
}

/** Samples in an epoch above which a number of repeats can only be a mistake. */
const sampleLimit = 100_000_000;

/** What random numbers are drawn for; the high half of the stream number. */
const purposes = { order: 0x100, caption: 0x101, flip: 0x102 };

/**
 * How often each regularization image is shown, by sd-scripts' rule.
 *
 * In the first round images enter with their folder's repeats, until there are as many samples as training ones (a
 * folder's repeats are never cut); what comes later is not used. Further rounds add one repeat to one image after the
 * other.
 *
 * @param folders Regularization folders, as repeats and number of images, in order.
 * @param trainSamples Training images times repeats.
 * @returns Repeats of all images, folder after folder.
 * @example 15 samples are wanted of four images with two repeats
 * ```ts
 * import { deepEqual } from "node:assert/strict";
 * deepEqual(regularizationRepeats([{ repeats: 2, imageCount: 4 }], 15), [4, 4, 4, 3]);
 * deepEqual(regularizationRepeats([{ repeats: 2, imageCount: 4 }], 3), [2, 2, 0, 0]);
 * ```
 */
export function regularizationRepeats(
  folders: readonly { readonly repeats: number; readonly imageCount: number }[],
  trainSamples: number,
): number[] {
  const first = folders.flatMap(({ repeats, imageCount }) => new Array<number>(imageCount).fill(repeats));
  const repeats = new Array<number>(first.length).fill(0);
  let samples = 0;
  for (let at = 0; at < first.length && samples < trainSamples; at++) {
    repeats[at] = first[at];
    samples += first[at];
  }
  for (let at = 0; first.length > 0 && samples < trainSamples; at = (at + 1) % first.length) {
    repeats[at]++;
    samples++;
  }
  return repeats;
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

/**
 * The data set of one network, from its DreamBooth folders.
 *
 * Each epoch shows every training image as often as its folder says, and as many regularization samples as training
 * samples, in an order drawn from seed and epoch; any epoch can be made again by itself. All pictures get one size.
 */
export class Dataset {
  /** All pictures, training before regularization, in folder order; those with 0 repeats are never shown. */
  readonly images: readonly DatasetImage[];
  /** Batches in an epoch; the last one may be short. */
  readonly batchesPerEpoch: number;
  readonly #train: readonly DreamboothFolder[];
  readonly #regularization: readonly DreamboothFolder[];
  readonly #options: DatasetOptions;

  /**
   * @param train Training folders, in order.
   * @param regularization Regularization folders, in order; may be none.
   * @throws {RangeError} If the size is no multiple of 64, a number is out of range, or there is no training image.
   */
  constructor(
    train: readonly DreamboothFolder[],
    regularization: readonly DreamboothFolder[],
    options: DatasetOptions,
  ) {
    checkOptions(options);
    this.#train = train;
    this.#regularization = regularization;
    this.#options = options;
    const trainSamples = sum(train.map(({ repeats, images }) => repeats * images.length));
    if (trainSamples === 0) throw new RangeError(`Cannot make the data set of ${options.name}: no training image`);
    if (trainSamples > sampleLimit) {
      throw new RangeError(
        `Cannot make the data set of ${options.name}: images times repeats make ${trainSamples} samples an epoch, ` +
          `more than ${sampleLimit}; see the numbers in the names of ${train.map(({ path }) => path).join(", ")}`,
      );
    }
    const shapes = regularization.map(({ repeats, images }) => ({ repeats, imageCount: images.length }));
    const repeats = regularizationRepeats(shapes, trainSamples);
    const lossWeight = options.priorLossWeight ?? 1;
    this.images = [
      ...train.flatMap((folder) =>
        folder.images.map(({ path, caption }): DatasetImage => {
          return { path, caption, isRegularization: false, repeats: folder.repeats, lossWeight: 1 };
        })
      ),
      ...regularization.flatMap((folder) => folder.images).map(({ path, caption }, at): DatasetImage => {
        return { path, caption, isRegularization: true, repeats: repeats[at], lossWeight };
      }),
    ];
    this.batchesPerEpoch = Math.ceil(sum(this.images.map((image) => image.repeats)) / options.batchSize);
  }

  get name(): string {
    return this.#options.name;
  }

  /** Width of all pictures, in pixels. */
  get width(): number {
    return this.#options.width;
  }

  /** Height of all pictures, in pixels. */
  get height(): number {
    return this.#options.height;
  }

  /**
   * Batches of one epoch; the last one may be short. The same epoch is the same whenever it is asked for.
   *
   * @param epoch Epoch, counted from 0.
   * @param options.firstStep Step of the run at which the epoch begins, for the captions' warm-up; by default
   * epoch * batchesPerEpoch.
   */
  epoch(epoch: number, options: { firstStep?: number } = {}): Batch[] {
    const { batchSize, captions, flipAugmentation, maxTrainSteps } = this.#options;
    const firstStep = options.firstStep ?? epoch * this.batchesPerEpoch;
    const order = this.images.flatMap((image) => new Array<DatasetImage>(image.repeats).fill(image));
    this.#random("order", epoch).shuffle(order);
    const captionRandom = this.#random("caption", epoch);
    const flipRandom = this.#random("flip", epoch);
    return Array.from({ length: this.batchesPerEpoch }, (_, at) => {
      const time = { epoch: epoch + 1, step: firstStep + at, maxTrainSteps };
      return order.slice(at * batchSize, (at + 1) * batchSize).map((image): Sample => ({
        image,
        caption: processCaption(image.caption, captions ?? {}, time, captionRandom),
        isFlipped: flipAugmentation === true && flipRandom.nextFloat() < 0.5,
      }));
    });
  }

  /** Figures for a dry run or a report. */
  describe(): DatasetDescription {
    const { name, width, height, batchSize } = this.#options;
    const trainImages = this.images.filter((image) => !image.isRegularization);
    const regularization = this.images.filter((image) => image.isRegularization);
    const describeFolder =
      (isRegularization: boolean) => ({ path, repeats, images, classTokens }: DreamboothFolder) => {
        return { path, repeats, images: images.length, classTokens, isRegularization };
      };
    return {
      name,
      width,
      height,
      batchSize,
      trainImages: trainImages.length,
      trainSamples: sum(trainImages.map((image) => image.repeats)),
      regularizationImages: regularization.length,
      regularizationUnused: regularization.filter((image) => image.repeats === 0).length,
      regularizationSamples: sum(regularization.map((image) => image.repeats)),
      batchesPerEpoch: this.batchesPerEpoch,
      folders: [
        ...this.#train.map(describeFolder(false)),
        ...this.#regularization.map(describeFolder(true)),
      ],
    };
  }

  #random(purpose: keyof typeof purposes, epoch: number): RandomStream {
    const { seed, stream = 0 } = this.#options;
    return new RandomStream({ seed, stream: purposes[purpose] * 0x10000 + stream, step: epoch });
  }
}

function checkOptions(options: DatasetOptions): void {
  const { name, batchSize, stream = 0, priorLossWeight = 1 } = options;
  checkImageSize(options, name);
  const refuse = (what: string, found: number, wanted: string) => {
    throw new RangeError(`Cannot make the data set of ${name}: ${what} is ${found}, must be ${wanted}`);
  };
  if (!Number.isInteger(batchSize) || batchSize < 1) refuse("the batch size", batchSize, "an integer from 1");
  if (!Number.isInteger(stream) || stream < 0 || stream > 0xffff) {
    refuse("stream", stream, "an integer from 0 to 65535");
  }
  if (!Number.isFinite(priorLossWeight) || priorLossWeight < 0) {
    refuse("the prior loss weight", priorLossWeight, "a number from 0");
  }
}

/**
 * Pairs the batches of two data sets for an epoch: as many pairs as the longer one has batches; the shorter one starts
 * over, with the same batches (same captions, same flips).
 *
 * @throws {RangeError} If either has no batch.
 * @example
 * ```ts
 * import { deepEqual } from "node:assert/strict";
 * deepEqual(pairEpoch([1, 2, 3], ["a", "b"]), [[1, "a"], [2, "b"], [3, "a"]]);
 * ```
 */
export function pairEpoch<A, B>(first: readonly A[], second: readonly B[]): [A, B][] {
  if (first.length === 0 || second.length === 0) {
    throw new RangeError(
      `Cannot pair an epoch of ${first.length} and ${second.length} batches: each needs at least one`,
    );
  }
  const length = Math.max(first.length, second.length);
  return Array.from({ length }, (_, at) => [first[at % first.length], second[at % second.length]]);
}
