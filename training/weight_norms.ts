import {
  absMax,
  fill,
  greater,
  limitLowRankNorms,
  type LowRankRange,
  lowRankWords,
  mean,
  minimum,
  sum,
  type Tensor,
  Variable,
  window,
} from "../engine/mod.ts";
import type { LoraModule, LoraNetwork } from "../lora/network.ts";

/** What keeps the norms of a network's modules below a limit: tables on the device, and the ranges that one dispatch takes. */
export interface WeightNormLimit {
  /** Largest norm of a module's `alpha / rank · up · down`. */
  readonly limit: number;
  readonly table: Variable;
  readonly scales: Variable;
  /** Each module's norm before the last step's scaling. */
  readonly norms: Variable;
  readonly initial: ReadonlyMap<Variable, ArrayLike<number>>;
  readonly ranges: readonly (LowRankRange & { readonly length: number })[];
}

/** Elements of the flat weights that one dispatch takes at most, if more than one module fits: 32 MiB. */
const rangeElements = 2 ** 23;

/** Prepares the limit for a network, without a GPU (`--scale_weight_norms`). */
export function weightNormLimit(
  { weights: { name }, modules, sizeElements }: LoraNetwork,
  limit: number,
): WeightNormLimit {
  const table = new Variable(`${name} table of pairs`, { shape: [modules.length, lowRankWords], dtype: "u32" });
  const scales = new Variable(`${name} scales`, { shape: [modules.length], dtype: "f32" });
  const norms = new Variable(`${name} norms`, { shape: [modules.length], dtype: "f32" });
  const ranges: { first: number; count: number; start: number; length: number }[] = [];
  for (const [place, { down }] of modules.entries()) {
    const end = modules[place + 1]?.down.offsetElements ?? sizeElements, last = ranges.at(-1);
    if (last && end - last.start <= rangeElements) {
      last.count++;
      last.length = end - last.start;
    } else ranges.push({ first: place, count: 1, start: down.offsetElements, length: end - down.offsetElements });
  }
  return {
    limit,
    table,
    scales,
    norms,
    initial: new Map<Variable, ArrayLike<number>>([
      [table, modules.flatMap(rowOf)],
      [scales, modules.map(({ alpha, rank }) => alpha / rank)],
    ]),
    ranges,
  };
}

function rowOf({ down, up, rank }: LoraModule): number[] {
  const inSize = down.sizeElements / rank, outSize = up.sizeElements / rank;
  // A convolution's down projection lies as [height, width, in, rank], others as [rank, in].
  const strides = down.layout === "convolution" ? [1, rank] : [inSize, 1];
  return [down.offsetElements, up.offsetElements, rank, inSize, outSize, ...strides, 0];
}

/**
 * Scales down the modules whose norm is above the limit, behind the optimizer's step; both projections by the same factor.
 *
 * @param weights The network's flat weights; the optimizer's effects must be traced already.
 * @returns Effects, and figures by sd-scripts' names: how many modules were scaled, and the mean and the largest norm afterwards.
 * @see sd-scripts' `apply_max_norm_regularization`
 */
export function limitWeightNorms(
  { limit, table, scales, norms, ranges }: WeightNormLimit,
  weights: Tensor,
  halted: Tensor,
): { effects: Tensor[]; figures: Record<string, Tensor> } {
  const traced = ranges.map(({ length, ...range }) =>
    limitLowRankNorms(
      window(weights, range.start, [length]),
      norms.tensor,
      scales.tensor,
      halted,
      table.tensor,
      { ...range, limit },
    )
  );
  // The last dispatch's result is what all of them made: they write into one variable.
  const found = traced.at(-1)![1], most = fill({ shape: [], value: limit }), limited = minimum(found, most);
  return {
    effects: traced.flat(),
    figures: {
      keys_scaled: sum(greater(found, most)),
      average_key_norm: mean(limited),
      max_key_norm: absMax(limited),
    },
  };
}
