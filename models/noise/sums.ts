/**
 * A weighted sum of what a sampler has at hand after an evaluation of the model, as factors: of the latents x, the model's output f, fresh normal noise ε,
 * and what it has kept from earlier, m₀, m₁, ... Factors left out are 0.
 */
export type WeightedSum = readonly number[];

/** The latents x before the step, not scaled. */
export const latents: WeightedSum = [1];
/** The model's output f, after guidance. */
export const modelOutput: WeightedSum = [0, 1];
/** Fresh standard normal noise ε. */
export const freshNoise: WeightedSum = [0, 0, 1];

/** What is kept at a place of the memory, from 0 on. */
export function kept(place: number): WeightedSum {
  return [0, 0, 0, ...Array(place).fill(0), 1];
}

/** Sums times factors, added up. */
export function weightedSum(...terms: readonly (readonly [factor: number, sum: WeightedSum])[]): WeightedSum {
  const length = Math.max(0, ...terms.map(([, sum]) => sum.length));
  return Array.from(
    { length },
    (_, at) => terms.reduce((total, [factor, sum]) => total + factor * (sum[at] ?? 0), 0),
  );
}
