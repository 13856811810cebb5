import type { FloatFormat } from "../../engine/mod.ts";

/** sd-scripts' names of what 16-bit numbers are (`--mixed_precision`); `no` for none. */
export const mixedPrecisions = ["no", "fp16", "bf16"] as const;

/** What frozen weights, or activations, are stored in. Sums, trained weights, gradients and optimizers' state are f32 whatever it is. */
export type MixedPrecision = typeof mixedPrecisions[number];

const formats: Readonly<Record<MixedPrecision, FloatFormat>> = { no: "f32", fp16: "f16", bf16: "bf16" };

/**
 * The engine's name of it.
 *
 * @param action What an error begins with: `Cannot load bases`.
 * @throws {RangeError} If there is no such precision.
 */
export function storageFormat(action: string, precision: MixedPrecision = "no"): FloatFormat {
  if (!mixedPrecisions.includes(precision)) {
    throw new RangeError(
      `${action}: mixedPrecision is ${JSON.stringify(precision)}, must be one of ${mixedPrecisions.join(", ")}`,
    );
  }
  return formats[precision];
}

/** sd-scripts' name of what numbers are stored in. */
export function precisionName(format: FloatFormat): MixedPrecision {
  return mixedPrecisions.find((name) => formats[name] === format)!;
}

/** What a training's activations are stored in: what its options say, else what its bases' weights are. */
export function activationFormat(
  { network1 }: { readonly network1: { readonly precision: FloatFormat } },
  { mixedPrecision }: { readonly mixedPrecision?: MixedPrecision },
): FloatFormat {
  return mixedPrecision === undefined ? network1.precision : storageFormat("Cannot train", mixedPrecision);
}
