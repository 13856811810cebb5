import type { DatasetImage } from "../../data/dataset.ts";
import { datasetOf, eachNetwork, type TrainingData } from "./training_data.ts";

/** One picture to encode, as it is or mirrored. */
export interface LatentWork {
  readonly image: DatasetImage;
  readonly isFlipped: boolean;
}

/** Every picture of both networks in every form that training shows; what both have stands there once. */
export function latentWork(data: TrainingData): LatentWork[] {
  const found = new Map<string, LatentWork>();
  for (const [, each] of eachNetwork(data)) {
    for (const image of datasetOf(each).images) {
      if (image.repeats === 0 && !image.isHeldOut) continue;
      for (const isFlipped of image.subset.settings.flipAug && !image.isHeldOut ? [false, true] : [false]) {
        found.set(JSON.stringify([image.path, image.bucket, image.resized, isFlipped]), { image, isFlipped });
      }
    }
  }
  return [...found.values()];
}

/**
 * Refuses augmentations that show other pixels at every step: one encoding cannot stand for them.
 *
 * @returns What has no effect on cached latents, as sentences.
 * @throws {RangeError} Naming the option and the folder.
 */
export function checkCacheable(data: TrainingData): string[] {
  const warnings: string[] = [];
  for (const [number, { sources }] of eachNetwork(data)) {
    for (const { path, settings } of sources.flatMap(({ subsets }) => subsets)) {
      const changing = settings.colorAug ? "colorAug" : settings.randomCrop ? "randomCrop" : null;
      if (changing !== null) {
        throw new RangeError(
          `Cannot cache latents: ${changing} is on for ${path} of network ${number}, so that every step shows other ` +
            "pixels; turn it off, or take encodeLatents instead of cacheLatents (no --cache_latents)",
        );
      }
      if (settings.faceCropAugRange !== null) {
        warnings.push(`faceCropAugRange of ${path} has no effect: cached latents are those of the picture's middle`);
      }
    }
  }
  return warnings;
}

/**
 * Refuses pictures of which there are latents alone where the pictures themselves are needed.
 *
 * @throws {RangeError} Naming the file.
 */
export function checkEncodable(data: TrainingData): void {
  const missing = latentWork(data).find(({ image }) => image.isLatents);
  if (missing === undefined) return;
  throw new RangeError(
    `Cannot encode latents: ${missing.image.path} has latents and no picture, and changes at every step need the ` +
      "picture; put it beside the latents, or turn colorAug and randomCrop off (--color_aug, --random_crop)",
  );
}
