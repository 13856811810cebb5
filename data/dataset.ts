/**
 * The data of one network: which pictures an epoch shows, in which batches, cut and changed how, with which captions and
 * loss weights.
 *
 * @module
 */
import { RandomStream, type RandomStreamKey } from "../random/philox.ts";
import { processCaption } from "./caption.ts";
import { type ColourChange, drawColour } from "./colour.ts";
import { type Bucket, type DatasetImage, type DatasetPart, sortIntoBuckets } from "./dataset_part.ts";
import { holdOut } from "./hold_out.ts";
import { bucketCut, middleCut, type PictureCut, plainCut } from "./picture_cut.ts";
import type { DatasetSource } from "./subset.ts";

export type { Bucket, DatasetImage, DatasetPart };

/** One picture in a batch. */
export interface Sample {
  readonly image: DatasetImage;
  /** Caption to train with, after shuffling and dropout. */
  readonly caption: string;
  readonly cut: PictureCut;
  /** Whether the picture is mirrored. */
  readonly isFlipped: boolean;
  readonly colour: ColourChange | null;
  /** Keys a draw from the VAE's distribution of latents; null: its mean. */
  readonly draw: RandomStreamKey | null;
}

/** Samples that are trained together, all of one size. */
export interface Batch {
  /** Width in pixels. */
  readonly width: number;
  /** Height in pixels. */
  readonly height: number;
  readonly samples: readonly Sample[];
}

/** Options of a {@linkcode Dataset}. */
export interface DatasetContext {
  /** Name for messages, such as "network 1". */
  readonly name: string;
  /** Seed of the run. */
  readonly seed: number;
  /** Tells data sets of one run apart, so that equal ones are shuffled differently: 0 to 65535, by default 0. */
  readonly stream?: number;
  /** Share of the training pictures, 0…1, that is held out for the validation loss (`--validation_split`). */
  readonly validationSplit?: number;
  /** Chooses the held-out pictures (`--validation_seed`); the run's seed when left out. */
  readonly validationSeed?: number;
}

/** Where in the run an epoch lies, for what changes in captions with time. */
export interface EpochTime {
  /** Optimizer step at which the epoch begins; by default epoch × batches. */
  readonly firstStep?: number;
  /** Batches in a step (`--gradient_accumulation_steps`); 1 when left out. */
  readonly accumulationSteps?: number;
  /** Steps of the whole run; only a warm-up of tags that is given as a share needs it. */
  readonly maxTrainSteps?: number;
}

/** What random numbers are drawn for; the high half of the stream number. */
const purposes = {
  order: 0x100,
  caption: 0x101,
  flip: 0x102,
  cut: 0x103,
  colour: 0x104,
  batches: 0x105,
  latents: 0x107,
};

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

/** A picture with nothing left to chance: its whole caption, cut in the middle, the mean of its latents. */
export function stillSample(image: DatasetImage): Sample {
  const cut = middleCut(image.resized, image.bucket);
  return { image, caption: image.caption, cut, isFlipped: false, colour: null, draw: null };
}

/**
 * What a network learns from: one or more data sets.
 *
 * Each epoch shows every training picture as often as its subset says, and as many regularization samples as training
 * samples. Order, captions, cuts and colours depend on seed, epoch and sample alone, so any epoch can be made again by
 * itself.
 */
export class Dataset {
  /** The data sets, in their order. */
  readonly parts: readonly DatasetPart[];
  /** All pictures. */
  readonly images: readonly DatasetImage[];
  /** Batches in an epoch; each bucket may end in a short one. */
  readonly batchesPerEpoch: number;
  readonly #context: DatasetContext;

  /**
   * @throws {RangeError} If a size cannot be trained at, a number is out of range, or there is no training picture.
   */
  constructor(sources: readonly DatasetSource[], context: DatasetContext) {
    const { name, stream = 0 } = this.#context = context;
    if (!Number.isInteger(stream) || stream < 0 || stream > 0xffff) {
      throw new RangeError(`Cannot make the data set of ${name}: stream is ${stream}, must be a whole number to 65535`);
    }
    const heldOut = holdOut(sources, { ...context, seed: this.validationSeed });
    let items = 0;
    this.parts = sources.map((source) => {
      const part = sortIntoBuckets(source, heldOut, name, items);
      items += sum(part.buckets.map(({ entries }) => entries.length));
      return part;
    });
    if (items === 0) throw new RangeError(`Cannot make the data set of ${name}: no training image`);
    this.images = this.parts.flatMap(({ images }) => images);
    this.batchesPerEpoch = sum(
      this.buckets.map(({ entries, batchSize }) => Math.ceil(entries.length / batchSize)),
    );
  }

  /** Name for messages. */
  get name(): string {
    return this.#context.name;
  }

  /** Seed of order, captions, cuts and colours. */
  get seed(): number {
    return this.#context.seed;
  }

  /** Seed that chooses the held-out pictures. */
  get validationSeed(): number {
    return this.#context.validationSeed ?? this.#context.seed;
  }

  /** All buckets of all data sets. */
  get buckets(): Bucket[] {
    return this.parts.flatMap(({ buckets }) => buckets);
  }

  /**
   * Batches of one epoch. The same epoch is the same whenever it is asked for.
   *
   * With one bucket the last batch may be short; with more, batches are shuffled, and short ones come anywhere.
   *
   * @param epoch Epoch, counted from 0.
   */
  epoch(epoch: number, time: EpochTime = {}): Batch[] {
    const { accumulationSteps = 1, maxTrainSteps } = time;
    const firstStep = time.firstStep ?? epoch * this.batchesPerEpoch;
    const plain = this.buckets.flatMap(({ size, batchSize, entries }, bucket) => {
      const order = [...entries];
      this.#random("order", epoch, bucket).shuffle(order);
      const count = Math.ceil(order.length / batchSize);
      return Array.from({ length: count }, (_, at) => {
        return { ...size, entries: order.slice(at * batchSize, (at + 1) * batchSize) };
      });
    });
    if (this.buckets.length > 1) this.#random("batches", epoch, 0).shuffle(plain);
    return plain.map(({ width, height, entries }, at): Batch => {
      const step = firstStep + Math.floor(at / accumulationSteps);
      const when = { epoch: epoch + 1, step, ...(maxTrainSteps === undefined ? {} : { maxTrainSteps }) };
      return { width, height, samples: entries.map(({ image, item }) => this.#sample(image, item, epoch, when)) };
    });
  }

  /** Held-out pictures in batches of one size, with whole captions and cut in the middle: the same at every time. */
  validationBatches(): Batch[] {
    return this.parts.flatMap(({ images, source: { settings: { batchSize } } }) => {
      const sizes = new Map<string, DatasetImage[]>();
      for (const image of images) {
        if (!image.isHeldOut) continue;
        const key = `${image.bucket.width} ${image.bucket.height}`, known = sizes.get(key);
        if (known) known.push(image);
        else sizes.set(key, [image]);
      }
      return [...sizes.values()].flatMap((alike) =>
        Array.from({ length: Math.ceil(alike.length / batchSize) }, (_, at): Batch => ({
          ...alike[0].bucket,
          samples: alike.slice(at * batchSize, (at + 1) * batchSize).map(stillSample),
        }))
      );
    });
  }

  #sample(
    image: DatasetImage,
    item: number,
    epoch: number,
    when: { epoch: number; step: number; maxTrainSteps?: number },
  ): Sample {
    const { settings } = image.subset, random = (purpose: keyof typeof purposes) => this.#random(purpose, epoch, item);
    return {
      image,
      caption: processCaption(image.caption, settings, when, random("caption")),
      cut: image.isBucketed
        ? bucketCut(image.resized, image.bucket, settings, random("cut"))
        : plainCut(image.size, image.path, image.bucket, settings, random("cut")),
      isFlipped: settings.flipAug && random("flip").nextFloat() < 0.5,
      colour: settings.colorAug ? drawColour(random("colour")) : null,
      draw: this.#key("latents", epoch, item),
    };
  }

  #random(purpose: keyof typeof purposes, epoch: number, item: number): RandomStream {
    return new RandomStream(this.#key(purpose, epoch, item));
  }

  #key(purpose: keyof typeof purposes, epoch: number, item: number): RandomStreamKey {
    const { seed, stream = 0 } = this.#context;
    return { seed, stream: purposes[purpose] * 0x10000 + stream, step: epoch, item };
  }
}

/**
 * Pairs the batches of two data sets for an epoch: as many pairs as the longer one has batches; the shorter one starts
 * over, with the same batches (same captions, same cuts).
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
