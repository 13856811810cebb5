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
