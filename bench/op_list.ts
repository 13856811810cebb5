import { readFile } from "node:fs/promises";

/** Output alone, or also gradients of a given gradient of the output. */
export type Pass = "forward" | "forward+gradient";

/** Both passes. */
export const passes: readonly Pass[] = ["forward", "forward+gradient"];

/** One op at one size, as `ops.json` lists them. */
export interface Op {
  readonly op: "matmul" | "conv3x3" | "conv1x1" | "linear" | "attention" | "group_norm_silu" | "layer_norm" | "silu";
  /** The sizes as text: a name, not read. */
  readonly shape: string;
  readonly dims: readonly number[];
  /** Too long for a CPU. */
  readonly large?: boolean;
}

/** Numbers of one input, laid out as bench/README.md says. */
export interface Input {
  readonly shape: readonly number[];
  readonly data: Float32Array<ArrayBuffer>;
}

/** What an op takes and does. */
interface OpFacts {
  /** Shapes of the inputs, and of the output's gradient behind them. */
  shapes(dims: readonly number[]): (readonly number[])[];
  /** How many inputs, from the first, get a gradient: in LoRA training weights of the base get none. */
  readonly differentiated: number;
  /** Multiply-adds of the direct algorithm, forward; 0 where arithmetic is not what costs. */
  products(dims: readonly number[]): number;
  /** How many times as many with the gradients. */
  readonly withGradient: number;
}

const convolution = (side: number): OpFacts => ({
  shapes: ([batch, height, width, size, out]) => [
    [batch, height, width, size],
    [side, side, size, out],
    [batch, height, width, out],
  ],
  differentiated: 1,
  products: ([batch, height, width, size, out]) => batch * height * width * size * out * side * side,
  withGradient: 2,
});

const normalization = (channelAxis: number): OpFacts => ({
  shapes: (x) => [x, [x[channelAxis]], [x[channelAxis]], x],
  differentiated: 1,
  products: () => 0,
  withGradient: 2,
});

const facts: Readonly<Record<Op["op"], OpFacts>> = {
  matmul: {
    shapes: ([m, n, k]) => [[m, k], [k, n], [m, n]],
    differentiated: 2,
    products: ([m, n, k]) => m * n * k,
    withGradient: 3,
  },
  conv3x3: convolution(3),
  conv1x1: convolution(1),
  linear: {
    shapes: ([m, size, out]) => [[m, size], [size, out], [m, out]],
    differentiated: 1,
    products: ([m, size, out]) => m * size * out,
    withGradient: 2,
  },
  attention: {
    shapes: (tokens) => [tokens, tokens, tokens, tokens],
    differentiated: 3,
    products: ([batch, tokens, heads, size]) => 2 * batch * tokens * tokens * heads * size,
    withGradient: 3,
  },
  group_norm_silu: normalization(3),
  layer_norm: normalization(1),
  silu: { shapes: (x) => [x, x], differentiated: 1, products: () => 0, withGradient: 2 },
};

/** The ops of `ops.json`. */
export async function readOps(): Promise<Op[]> {
  return JSON.parse(await readFile(new URL("ops.json", import.meta.url), "utf8"));
}

/** How many of an op's inputs, from the first, get a gradient. */
export function differentiatedInputs({ op }: Pick<Op, "op">): number {
  return facts[op].differentiated;
}

/** Nominal operations of a pass, two for each multiply-add of the direct algorithm; null where arithmetic is not what costs. */
export function nominalOperations({ op, dims }: Pick<Op, "op" | "dims">, pass: Pass): number | null {
  const { products, withGradient } = facts[op];
  return 2 * products(dims) * (pass === "forward" ? 1 : withGradient) || null;
}

/**
 * Bytes that a pass has to move at least: every input read once, the output and the gradients written once.
 *
 * @param elementBytes Of one element of them all.
 */
export function nominalBytes(op: Pick<Op, "op" | "dims">, pass: Pass, elementBytes = 4): number {
  const { shapes, differentiated } = facts[op.op];
  const sizes = shapes(op.dims).map((shape) => elementBytes * elementCount(shape)),
    sum = (of: number[]) => of.reduce((a, b) => a + b);
  // The last one stands for the output, and with gradients for the output's gradient, too.
  return sum(sizes) + (pass === "forward" ? 0 : sizes.at(-1)! + sum(sizes.slice(0, differentiated)));
}

/** An op's inputs, and for `forward+gradient` the gradient of its output behind them: computed, so that every program has the same. */
export function inputsOf({ op, dims }: Pick<Op, "op" | "dims">, pass: Pass): Input[] {
  return facts[op].shapes(dims).slice(0, pass === "forward" ? -1 : undefined)
    .map((shape, seed) => ({ shape, data: uniform(elementCount(shape), seed) }));
}

/**
 * Numbers in [-1, 1) by rule: element i is murmur3's finalizer of `seed + i · 0x9E3779B9`, its upper 24 bits scaled.
 *
 * @see Appleby, MurmurHash3, https://github.com/aappleby/smhasher/blob/master/src/MurmurHash3.cpp
 */
export function uniform(count: number, seed: number): Float32Array<ArrayBuffer> {
  const values = new Float32Array(count);
  for (let i = 0; i < count; i++) {
    let bits = (seed + Math.imul(i, 0x9e3779b9)) >>> 0;
    bits = Math.imul(bits ^ (bits >>> 16), 0x85ebca6b);
    bits = Math.imul(bits ^ (bits >>> 13), 0xc2b2ae35);
    values[i] = ((bits ^ (bits >>> 16)) >>> 8) / 2 ** 23 - 1;
  }
  return values;
}

function elementCount(shape: readonly number[]): number {
  return shape.reduce((a, b) => a * b, 1);
}
