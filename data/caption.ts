/**
 * Captions: reading them from files and changing them per step, with sd-scripts' rules.
 *
 * @module
 */
import { readFile } from "node:fs/promises";
import { parse } from "node:path";
import type { SubsetDefaults } from "./dataset_options.ts";

/** A caption file that cannot be used. The message names the file and says what to do. */
export class CaptionError extends Error {
  override readonly name = "CaptionError";

  constructor(readonly file: string, reason: string, options?: ErrorOptions) {
    super(`Cannot read caption ${file}: ${reason}`, options);
  }
}

/** What Python's str.strip takes: unlike JavaScript's trim U+001C to U+001F and U+0085 too, and U+FEFF not. */
const blanks = "[\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]+";
const outerBlanks = new RegExp(`^${blanks}|${blanks}$`, "gu");

/** Trims what Python's `str.strip` trims. */
export function stripText(text: string): string {
  return text.replaceAll(outerBlanks, "");
}

/** Extensions looked for when none is asked for, in this order. */
export const captionExtensions: readonly string[] = [".caption", ".txt"];

/**
 * Names of the caption files that would serve an image, best first: its own name, then, when that ends in a face
 * position (four numbers after underscores), the name without it.
 *
 * @param image File name of the image.
 * @param extension Caption extension; unset, both of {@linkcode captionExtensions}.
 * @example
 * ```ts
 * import { deepEqual } from "node:assert/strict";
 * deepEqual(captionNames("x_10_20_5_5.png", ".txt"), ["x_10_20_5_5.txt", "x.txt"]);
 * ```
 */
export function captionNames(image: string, extension?: string): string[] {
  const { name } = parse(image);
  const withoutFace = /^(.+)_\d+_\d+_\d+_\d+$/u.exec(name)?.[1];
  const bases = withoutFace === undefined ? [name] : [name, withoutFace];
  const extensions = extension === undefined ? captionExtensions : [extension];
  return bases.flatMap((base) => extensions.map((end) => base + end));
}

/**
 * Reads a caption file: UTF-8, the first line alone, trimmed.
 *
 * @throws {CaptionError} If the file is empty, is not UTF-8 or cannot be opened.
 */
export async function readCaption(path: string): Promise<string> {
  let bytes: Uint8Array;
  try {
    bytes = await readFile(path);
  } catch (error) {
    throw new CaptionError(path, `it cannot be opened (${error instanceof Error ? error.message : error})`, {
      cause: error,
    });
  }
  if (bytes.length === 0) {
    throw new CaptionError(path, "the file is empty; write a caption, or delete it to use the folder's class tokens");
  }
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (error) {
    throw new CaptionError(path, "it is not UTF-8 text; save it as UTF-8", { cause: error });
  }
  return stripText(text.split(/\r\n|\r|\n/u, 1)[0]);
}

/** How captions change from step to step. */
export type CaptionOptions = Pick<
  SubsetDefaults,
  | "shuffleCaption"
  | "keepTokens"
  | "captionDropoutRate"
  | "captionDropoutEveryNEpochs"
  | "captionTagDropoutRate"
  | "tokenWarmupMin"
  | "tokenWarmupStep"
>;

/** Where in the run a caption is asked for. */
export interface CaptionTime {
  /** Epoch, counted from 1. */
  readonly epoch: number;
  /** Step, counted from 0. */
  readonly step: number;
  /** Steps of the whole run; needed when `tokenWarmupStep` is below 1. */
  readonly maxTrainSteps?: number;
}

/** Random numbers for captions. */
export interface CaptionRandom {
  nextFloat(): number;
  shuffle<T>(items: T[]): void;
}

function warmupLength(options: CaptionOptions, time: CaptionTime): number {
  const length = options.tokenWarmupStep ?? 0;
  if (length >= 1 || length === 0) return length;
  if (time.maxTrainSteps === undefined) {
    throw new RangeError(
      `Cannot use tokenWarmupStep ${length}: a share of all steps needs maxTrainSteps, which is not set`,
    );
  }
  return Math.floor(length * time.maxTrainSteps);
}

/**
 * The caption a sample gets at one time of the run.
 *
 * Order: dropout of the whole caption; warm-up cut; shuffling and then dropout of the tags after `keepTokens`. Without
 * shuffling, warm-up and tag dropout a caption stays as it is; otherwise its tags are trimmed and joined by comma and
 * blank.
 *
 * @param random Gives one number for the whole caption if its dropout rate is above 0, and one per tag for tag dropout.
 */
export function processCaption(
  caption: string,
  options: CaptionOptions,
  time: CaptionTime,
  random: CaptionRandom,
): string {
  const dropoutRate = options.captionDropoutRate ?? 0;
  const everyEpochs = options.captionDropoutEveryNEpochs ?? 0;
  const tagDropoutRate = options.captionTagDropoutRate ?? 0;
  const keepTokens = options.keepTokens ?? 0;
  const warmupSteps = warmupLength(options, time);
  if (dropoutRate > 0 && random.nextFloat() < dropoutRate) return "";
  if (everyEpochs > 0 && time.epoch % everyEpochs === 0) return "";
  if (!options.shuffleCaption && warmupSteps === 0 && tagDropoutRate <= 0) return caption;
  let tags = caption.split(",").map(stripText);
  if (time.step < warmupSteps) {
    const least = options.tokenWarmupMin ?? 1;
    tags = tags.slice(0, Math.floor(time.step * ((tags.length - least) / warmupSteps)) + least);
  }
  const kept = tags.slice(0, keepTokens);
  const rest = tags.slice(keepTokens);
  if (options.shuffleCaption) random.shuffle(rest);
  const left = tagDropoutRate > 0 ? rest.filter(() => random.nextFloat() >= tagDropoutRate) : rest;
  return [...kept, ...left].join(", ");
}
