import type { LoraFileModule } from "../formats/lora_file.ts";
import { blockIndex } from "./blocks.ts";

/** Modules of a LoRA file that lie together: a block, or a part of the model. */
export interface GroupStrength {
  readonly name: string;
  readonly modules: number;
  /** Frobenius norm of all their changes of weights together: the root of the sum of squares. */
  readonly norm: number;
}

/**
 * Frobenius norm of what a LoRA module adds to its layer's weight, `alpha / rank · up · down`.
 *
 * From the Gram matrices of the factors, `‖U·D‖² = tr(UᵀU · DDᵀ)`: the product itself is never made. Summed in f64.
 */
export function deltaNorm({ down, up, alpha }: Omit<LoraFileModule, "name">): number {
  const rank = down.shape[0], inSize = down.values.length / rank, outSize = up.shape[0];
  let square = 0;
  for (let i = 0; i < rank; i++) {
    for (let j = 0; j <= i; j++) {
      let ofDown = 0, ofUp = 0;
      for (let k = 0; k < inSize; k++) ofDown += down.values[i * inSize + k] * down.values[j * inSize + k];
      for (let k = 0; k < outSize; k++) ofUp += up.values[k * rank + i] * up.values[k * rank + j];
      square += (i === j ? 1 : 2) * ofDown * ofUp;
    }
  }
  // Rounding can leave a little less than 0 where the factors cancel.
  return Math.abs(alpha / rank) * Math.sqrt(Math.max(0, square));
}

/**
 * The block a module lies in, as block weights name it: `BASE` for text encoders, `IN00` to `IN11`, `M00`, `OUT00` to `OUT11`.
 *
 * @example
 * ```ts
 * import { equal } from "node:assert/strict";
 * equal(blockName("lora_unet_up_blocks_3_attentions_2_proj_in"), "OUT11");
 * ```
 */
export function blockName(module: string): string {
  const index = blockIndex(module), two = (number: number) => String(number).padStart(2, "0");
  if (partName(module) !== "unet" || index < 0) return "BASE";
  return index < 12 ? `IN${two(index)}` : index === 12 ? "M00" : `OUT${two(index - 13)}`;
}

/** The part of the model that a module changes: `unet`, `text_encoder`, or an SDXL file's `text_encoder_1` and `text_encoder_2`. */
export function partName(module: string): string {
  const [, part] = module.match(/^lora_(unet|te\d?)_/)!;
  return part === "unet"
    ? part
    : part.replace(/^te(\d?)$/, (_, digit) => digit ? `text_encoder_${digit}` : "text_encoder");
}

/** Sums norms by groups, in the order in which the groups first come. */
export function groupNorms(
  norms: ReadonlyMap<string, number>,
  groupOf: (module: string) => string,
): GroupStrength[] {
  const groups = Map.groupBy(norms, ([name]) => groupOf(name));
  return [...groups].map(([name, inside]) => ({
    name,
    modules: inside.length,
    norm: Math.hypot(...inside.map(([, norm]) => norm)),
  }));
}
