import { countElements } from "./element_types.ts";

const NORM_NAMES = [
  "norm.weight",
  "norm1.weight",
  "norm2.weight",
  "norm3.weight",
  "norm_out.weight",
  "layer_norm1.weight",
  "layer_norm2.weight",
  "final_layer_norm.weight",
  "group_norm.weight",
];
const EMBEDDING_NAMES = ["token_embedding.weight", "position_embedding.weight"];
const GOLDEN_GAMMA = 0x9e3779b9;

/**
 * Uniform float32 values in [−1, 1) that depend on a name, a salt and the index alone.
 *
 * Value i hashes `fnv1a32(name#salt) + i · 0x9E3779B9` with murmur3's finalizer and keeps the upper 24 bits, so that
 * any program can compute the same bits.
 *
 * @param salt Whole number; another one gives other values.
 */
export function uniformByRule(name: string, count: number, salt = 0): Float32Array<ArrayBuffer> {
  return fillByRule(new Float32Array(count), name, salt, 0, 1);
}

/**
 * A tensor of stand-in weights computed from its name: for checks at full model size without a checkpoint.
 *
 * With u from {@link uniformByRule}: norm weights are 1 + 0.1 u; embeddings and other 1-D tensors 0.05 u; 2-D and 4-D
 * tensors u · √(3 / fan_in), where fan_in is the product of all dimensions but the first.
 *
 * @param name Diffusers key behind its part: `unet.`, `text_encoder.`, `vae.`, `lora1.` or `lora2.`.
 * @param shape As in PyTorch; values are in row-major order.
 * @param salt Whole number; another one gives other values.
 * @throws {RangeError} If a dimension is not a whole number from 0 on.
 * @example
 * ```ts
 * import { equal } from "node:assert/strict";
 * equal(weightByRule("unet.conv_norm_out.weight", [320])[0], 1.067441463470459);
 * ```
 */
export function weightByRule(name: string, shape: readonly number[], salt = 0): Float32Array<ArrayBuffer> {
  const values = new Float32Array(countElements(shape));
  if (NORM_NAMES.some((end) => name.endsWith(end))) return fillByRule(values, name, salt, 1, 0.1);
  if (EMBEDDING_NAMES.some((end) => name.endsWith(end)) || shape.length < 2) {
    return fillByRule(values, name, salt, 0, 0.05);
  }
  return fillByRule(values, name, salt, 0, Math.sqrt(3 / countElements(shape.slice(1))));
}

/** Sets value i to `offset + scale · u(i)` in float32 arithmetic. */
function fillByRule<T extends Float32Array>(values: T, name: string, salt: number, offset: number, scale: number): T {
  const scale32 = Math.fround(scale);
  let state = fnv1a32(`${name}#${salt}`);
  for (let i = 0; i < values.length; i++) {
    let x = state;
    x ^= x >>> 16;
    x = Math.imul(x, 0x85ebca6b);
    x ^= x >>> 13;
    x = Math.imul(x, 0xc2b2ae35);
    x ^= x >>> 16;
    // u and the product are exact in float64, so rounding the product is the float32 product.
    values[i] = offset + Math.fround(scale32 * ((x >>> 8) * (2 / 2 ** 24) - 1));
    state = (state + GOLDEN_GAMMA) | 0;
  }
  return values;
}

/** FNV-1a, 32 bits, over the UTF-8 bytes. */
function fnv1a32(text: string): number {
  let hash = 2166136261;
  for (const byte of new TextEncoder().encode(text)) hash = Math.imul(hash ^ byte, 16777619);
  return hash;
}
