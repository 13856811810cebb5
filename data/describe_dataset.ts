import { stripText } from "./caption.ts";
import type { Dataset, DatasetPart } from "./dataset.ts";
import type { DatasetSettings, SubsetSettings } from "./subset.ts";

/** Figures of one of a network's data sets. */
export interface PartDescription {
  readonly settings: DatasetSettings;
  /** Sizes in use, by width, then height; samples are pictures times repeats. */
  readonly buckets: readonly { width: number; height: number; samples: number; batches: number }[];
  /** Whether sizes were chosen by aspect ratio. */
  readonly isBucketed: boolean;
  /** Mean of the pictures' |aspect ratio of the bucket − own|, repeats not counted. */
  readonly meanAspectError: number;
  readonly subsets: readonly {
    readonly path: string;
    readonly kind: "folder" | "metadata";
    readonly images: number;
    readonly settings: SubsetSettings;
  }[];
}

/** Figures of a data set, for dry runs, tables and the metadata of LoRA files. */
export interface DatasetDescription {
  readonly name: string;
  /** Training pictures that epochs show. */
  readonly trainImages: number;
  /** Training pictures times repeats: what an epoch shows of them. */
  readonly trainSamples: number;
  /** Pictures held out for the validation loss. */
  readonly heldOutImages: number;
  /** Regularization pictures in all folders. */
  readonly regularizationImages: number;
  /** The same times their folders' repeats, used or not. */
  readonly regularizationOffered: number;
  /** Regularization samples in an epoch. */
  readonly regularizationSamples: number;
  /** Regularization pictures that no epoch shows. */
  readonly regularizationUnused: number;
  readonly batchesPerEpoch: number;
  readonly parts: readonly PartDescription[];
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

/** NumPy's sum of f64 numbers, to the last digit: eight running sums up to 128 numbers, halves above. */
function pairwiseSum(values: readonly number[]): number {
  const { length } = values;
  if (length < 8) return sum(values);
  if (length > 128) {
    const middle = Math.floor(length / 2) - Math.floor(length / 2) % 8;
    return pairwiseSum(values.slice(0, middle)) + pairwiseSum(values.slice(middle));
  }
  const running = values.slice(0, 8), whole = length - length % 8;
  for (let at = 8; at < whole; at++) running[at % 8] += values[at];
  const [a, b, c, d, e, f, g, h] = running;
  return values.slice(whole).reduce((total, value) => total + value, (a + b + (c + d)) + (e + f + (g + h)));
}

function describePart({ source: { settings, subsets }, images, buckets }: DatasetPart): PartDescription {
  const shown = images.filter(({ repeats }) => repeats > 0);
  return {
    settings,
    buckets: buckets.map(({ size: { width, height }, batchSize, entries }) => {
      return { width, height, samples: entries.length, batches: Math.ceil(entries.length / batchSize) };
    }),
    isBucketed: shown.some(({ isBucketed }) => isBucketed),
    meanAspectError: pairwiseSum(shown.map(({ aspectError }) => Math.abs(aspectError))) / shown.length,
    subsets: subsets.map(({ path, kind, images, settings }) => ({ path, kind, images: images.length, settings })),
  };
}

/** Counts what a data set shows. */
export function describeDataset(dataset: Dataset): DatasetDescription {
  const regularization = dataset.images.filter(({ subset }) => subset.settings.isReg);
  const train = dataset.images.filter(({ subset, isHeldOut }) => !subset.settings.isReg && !isHeldOut);
  const samples = (images: readonly { repeats: number }[]) => sum(images.map(({ repeats }) => repeats));
  return {
    name: dataset.name,
    trainImages: train.length,
    trainSamples: samples(train),
    heldOutImages: dataset.images.filter(({ isHeldOut }) => isHeldOut).length,
    regularizationImages: regularization.length,
    regularizationOffered: sum(regularization.map(({ subset }) => subset.settings.numRepeats)),
    regularizationSamples: samples(regularization),
    regularizationUnused: regularization.filter(({ repeats }) => repeats === 0).length,
    batchesPerEpoch: dataset.batchesPerEpoch,
    parts: dataset.parts.map(describePart),
  };
}

/**
 * How often each tag stands in captions, by sd-scripts' rule: split at commas, trimmed, in small letters, empty ones
 * left out; in the order of first sight.
 *
 * @example
 * ```ts
 * import { deepEqual } from "node:assert/strict";
 * deepEqual([...tagFrequency(["Cat, sitting", "cat,,"])], [["cat", 2], ["sitting", 1]]);
 * ```
 */
export function tagFrequency(captions: readonly string[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const tag of captions.flatMap((caption) => caption.split(",").map(stripText))) {
    if (tag !== "") counts.set(tag.toLowerCase(), (counts.get(tag.toLowerCase()) ?? 0) + 1);
  }
  return counts;
}
