import { fill, greater, multiply, randomUniform, scale, type Tensor, window } from "../engine/mod.ts";
import type { LoraOptions } from "./module_plan.ts";

/** Shares that a training step leaves out, each from 0 to below 1. */
export type DropoutShares = Required<Pick<LoraOptions, "dropout" | "rankDropout" | "moduleDropout">>;

/** Elements between two keys: windows of an input begin at multiples of 256 bytes. */
export const dropoutKeyStride = 64;

/** The shares that are not 0, in a fixed order: each draws numbers of its own. */
export function drawnShares(shares: DropoutShares): (keyof DropoutShares)[] {
  return (["dropout", "rankDropout", "moduleDropout"] as const).filter((kind) => shares[kind] > 0);
}

/**
 * Keys of all random numbers that a network's modules draw in one micro-batch, u32 `[keys · 64]`; see `randomUniform`.
 *
 * @param count Modules times shares that are drawn.
 * @param firstStream Stream of the first key; the others follow.
 */
export function dropoutKeys(
  count: number,
  options: { readonly seed: number; readonly firstStream: number; readonly step: number },
): Uint32Array {
  const { seed, firstStream, step } = options, keys = new Uint32Array(count * dropoutKeyStride);
  for (let i = 0; i < count; i++) {
    keys.set([seed >>> 0, Math.floor(seed / 2 ** 32), firstStream + i, step], i * dropoutKeyStride);
  }
  return keys;
}

/**
 * Leaves out what a module's shares say, of its inner activations: single ones, those that are left divided by the share that is left; whole ranks of a sample; or
 * all of them.
 *
 * What is left of the ranks is to be divided by `1 − rankDropout`, in the module's scale: `rankScale`.
 *
 * @param middle `[batch, ..., rank]`
 * @param keys As `dropoutKeys` makes them.
 * @param module The module's place in its network.
 * @see sd-scripts' `LoRAModule.forward`, where a module that is left out has no gradient at all; here its gradient is 0.
 */
export function dropInner(middle: Tensor, shares: DropoutShares, keys: Tensor, module: number): Tensor {
  const kinds = drawnShares(shares), [batch] = middle.shape, rank = middle.shape[middle.shape.length - 1];
  const shapes: Readonly<Record<keyof DropoutShares, readonly number[]>> = {
    dropout: middle.shape,
    rankDropout: [batch, ...middle.shape.slice(1, -1).map(() => 1), rank],
    moduleDropout: middle.shape.map(() => 1),
  };
  let left = middle;
  for (const [place, kind] of kinds.entries()) {
    const share = shares[kind], key = window(keys, (module * kinds.length + place) * dropoutKeyStride, [4]);
    const isKept = greater(randomUniform(key, { shape: shapes[kind] }), fill({ shape: [], value: share }));
    left = multiply(left, kind === "dropout" ? scale(isKept, { factor: 1 / (1 - share) }) : isKept);
  }
  return left;
}

/** What a module's scale is multiplied by while ranks are left out. */
export function rankScale({ rankDropout }: DropoutShares): number {
  return 1 / (1 - rankDropout);
}
