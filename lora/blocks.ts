/** Blocks of each side of the UNet that LoRA networks count: 12 down, 12 up. */
const blocksPerSide = 12;

/** Place of the middle block among all of them. */
const middle = blocksPerSide;

/** Blocks that settings list: down from 0 on, the middle, up from 13 on. */
export const blockCount = 2 * blocksPerSide + 1;

/** Names of the curves over one side's blocks, as sd-scripts' `down_lr_weight` and `up_lr_weight` spell them. */
const blockCurves = ["cosine", "sine", "linear", "reverse_linear", "zeros"] as const;

/**
 * Learning rates, ranks and alphas of the UNet's single blocks; sd-scripts' `--network_args` in brackets. A block at rate 0 or rank 0 gets no modules.
 *
 * A side's weights are up to 12 factors of the UNet's learning rate, in the order of the forward pass; missing ones are 1. Or a curve by name, such as `cosine`,
 * or with an offset `cosine+0.25`.
 */
export interface BlockOptions {
  /** Shallow to deep (`down_lr_weight`). */
  readonly downWeights?: readonly number[] | string;
  /** (`mid_lr_weight`) */
  readonly midWeight?: number;
  /** Deep to shallow (`up_lr_weight`). */
  readonly upWeights?: readonly number[] | string;
  /** Weights that are not above it count as 0; 0 when left out (`block_lr_zero_threshold`). */
  readonly zeroThreshold?: number;
  /** 25 ranks of linear and 1×1 modules; the network's rank when left out (`block_dims`). */
  readonly ranks?: readonly number[];
  /** 25 alphas of these modules; the network's when left out (`block_alphas`). */
  readonly alphas?: readonly number[];
  /** 25 ranks of 3×3 convolutions; the network's when left out (`conv_block_dims`). */
  readonly convRanks?: readonly number[];
  /** 25 alphas of 3×3 convolutions; the network's when left out (`conv_block_alphas`). */
  readonly convAlphas?: readonly number[];
}

/** What the modules of one block get. */
export interface BlockSettings {
  /** 0: no modules. */
  readonly rank: number;
  readonly alpha: number;
  /** 0: no modules. */
  readonly convRank: number;
  readonly convAlpha: number;
  /** Factor of the learning rate. */
  readonly rateWeight: number;
}

const upOrDown = /(up|down)_blocks_(\d+)_(resnets|upsamplers|downsamplers|attentions)_(\d+)_/;

/**
 * The block that a module belongs to, by kohya's name: 0 to 11 down, 12 the middle, 13 to 24 up, −1 for the text encoder. Block 0 has no modules.
 *
 * @example
 * ```ts
 * import { deepEqual } from "node:assert/strict";
 * const names = ["lora_unet_down_blocks_1_attentions_0_proj_in", "lora_unet_up_blocks_3_resnets_2_conv1", "lora_te_text_model_encoder_layers_0_mlp_fc1"];
 * deepEqual(names.map(blockIndex), [4, 24, -1]);
 * ```
 */
export function blockIndex(name: string): number {
  const found = name.match(upOrDown);
  if (!found) return name.includes("mid_block_") ? middle : -1;
  const [, side, level, kind, place] = found;
  const index = 3 * Number(level) + (kind.endsWith("samplers") ? 2 : Number(place));
  return side === "down" ? 1 + index : middle + 1 + index;
}

/**
 * Settings of each of the 25 blocks, by sd-scripts 0.6.4's rules.
 *
 * @param network What holds where the options say nothing.
 * @throws {RangeError} If a list is too long or has numbers out of range, or a curve has no such name.
 */
export function blockSettings(
  options: BlockOptions,
  network: { readonly rank: number; readonly alpha: number; readonly convRank?: number; readonly convAlpha: number },
): BlockSettings[] {
  const { midWeight = 1, zeroThreshold = 0 } = options;
  const weights = [
    ...sideWeights("downWeights", options.downWeights),
    ...numbers("midWeight", [midWeight], 1, false),
    ...sideWeights("upWeights", options.upWeights),
  ].map((weight) => weight > zeroThreshold ? weight : 0);
  const list = (name: "ranks" | "alphas" | "convRanks" | "convAlphas", fallback: number) =>
    options[name] === undefined
      ? Array<number>(blockCount).fill(fallback)
      : numbers(name, options[name], blockCount, name.endsWith("anks"), blockCount);
  const ranks = list("ranks", network.rank), alphas = list("alphas", network.alpha);
  const convRanks = list("convRanks", network.convRank ?? 0), convAlphas = list("convAlphas", network.convAlpha);
  return weights.map((rateWeight, i) => ({
    rank: rateWeight ? ranks[i] : 0,
    alpha: alphas[i],
    convRank: rateWeight ? convRanks[i] : 0,
    convAlpha: convAlphas[i],
    rateWeight,
  }));
}

/** Twelve weights of one side. */
function sideWeights(name: string, given: readonly number[] | string | undefined): number[] {
  if (typeof given === "string") return curve(name, given);
  const found = numbers(name, given ?? [], blocksPerSide, false);
  return [...found, ...Array<number>(blocksPerSide - found.length).fill(1)];
}

function curve(name: string, text: string): number[] {
  const [kind, offsetText = "0", ...more] = text.split("+"), offset = Number(offsetText);
  if (more.length || offsetText.trim() === "" || !(offset >= 0) || !Number.isFinite(offset)) {
    throw wrong(name, JSON.stringify(text), "a curve's name, or a name and an offset such as cosine+0.25");
  }
  const place = (i: number) => i / (blocksPerSide - 1), last = blocksPerSide - 1;
  const curves: Readonly<Record<typeof blockCurves[number], (i: number) => number>> = {
    cosine: (i) => Math.sin(Math.PI * place(last - i) / 2),
    sine: (i) => Math.sin(Math.PI * place(i) / 2),
    linear: place,
    reverse_linear: (i) => place(last - i),
    zeros: () => 0,
  };
  const known = blockCurves.find((each) => each === kind);
  if (known === undefined) throw wrong(name, JSON.stringify(kind), `one of ${blockCurves.join(", ")}, or a list`);
  return Array.from({ length: blocksPerSide }, (_, i) => curves[known](i) + offset);
}

function numbers(name: string, given: readonly number[], most: number, isWhole: boolean, least = 0): number[] {
  if (!Array.isArray(given) || given.length > most || given.length < least) {
    const wanted = least === most ? `a list of ${most} numbers` : `a list of up to ${most} numbers, or a curve's name`;
    throw wrong(name, Array.isArray(given) ? `a list of ${given.length}` : JSON.stringify(given), wanted);
  }
  const bad = given.find((value) => !(isWhole ? Number.isInteger(value) : Number.isFinite(value)) || value < 0);
  if (bad !== undefined) throw wrong(name, `${bad} in it`, isWhole ? "whole numbers from 0 on" : "numbers from 0 on");
  return [...given];
}

function wrong(name: string, found: string, wanted: string): RangeError {
  return new RangeError(`Cannot make a network: blocks.${name} has ${found}, must be ${wanted}`);
}
