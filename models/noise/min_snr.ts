/**
 * Weights that stop easy, nearly noise-free timesteps from dominating the loss (Min-SNR).
 *
 * Weight of one sample: `min(snr, gamma) / snr`, in (0, 1]. Made for models that predict the noise; kohya's scripts up to
 * v0.6.4 use it for velocity as well.
 *
 * @param snr `[batch]`, signal-to-noise ratio ᾱ / (1 − ᾱ) at each sample's timestep; a power ratio, not decibels; > 0.
 * @param options.gamma Ratio above which samples are damped; > 0. The paper's choice is 5.
 * @returns `[batch]`, f32, to multiply into each sample's mean loss.
 * @throws {RangeError} If gamma or a ratio is not above 0.
 * @see Hang et al. 2023, https://arxiv.org/abs/2303.09556
 * @example A sample four times over the limit counts a quarter
 * ```ts
 * import { deepEqual } from "node:assert/strict";
 * deepEqual([...minSnrWeights([0.5, 5, 20], { gamma: 5 })], [1, 1, 0.25]);
 * ```
 */
export function minSnrWeights(snr: ArrayLike<number>, options: { gamma: number }): Float32Array<ArrayBuffer> {
  const { gamma } = options;
  if (!(gamma > 0)) throw new RangeError(`Cannot weight losses: gamma is ${gamma}, must be above 0`);
  return Float32Array.from(snr, (ratio, sample) => {
    if (!(ratio > 0)) throw new RangeError(`Cannot weight losses: snr[${sample}] is ${ratio}, must be above 0`);
    return Math.min(ratio, gamma) / ratio;
  });
}
