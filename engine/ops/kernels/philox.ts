import type { Kernel, KernelTarget } from "../../graph/kernel.ts";
import { elementCount, type TensorType, typeText } from "../../graph/types.ts";
import { binding, grid } from "./wgsl.ts";

/** What a random op draws. */
export interface RandomAttributes {
  readonly shape: readonly number[];
}

/** Shape rule of random ops. */
export function randomType(key: TensorType, { shape }: RandomAttributes): TensorType {
  if (key.dtype !== "u32" || key.shape.join() !== "4") {
    throw new TypeError(`key is ${typeText(key)}, wanted u32 [4]: seed low, seed high, stream, step`);
  }
  return { shape, dtype: "f32" };
}

/**
 * Kernel of a random op: one invocation makes four elements from one block of Philox 4x32-10, with counter (block, 0, step, stream) and
 * the seed as key. Any element of any step can be made alone.
 *
 * @param four WGSL of the four elements, a vec4f, from `words`, a vec4u.
 * @param functions WGSL functions that it calls.
 * @see Salmon et al. 2011, "Parallel Random Numbers: As Easy as 1, 2, 3", https://doi.org/10.1145/2063384.2063405
 */
export function randomKernel(
  four: string,
  shape: readonly number[],
  target: KernelTarget,
  functions = "",
): Kernel {
  const count = elementCount(shape), blocks = Math.ceil(count / 4), lines = grid(blocks, target);
  const whole = count % 4 === 0;
  return {
    workgroups: lines.workgroups,
    wgsl: `${binding(0, "key", "u32", "read")}
${binding(1, "result", whole ? "vec4f" : "f32", "read_write")}
const BLOCKS = ${blocks}u;
const COUNT = ${count}u;
const MULTIPLIER_A = 0xd2511f53u;
const MULTIPLIER_B = 0xcd9e8d57u;
const WEYL = vec2u(0x9e3779b9u, 0xbb67ae85u);

// WGSL has no 64-bit product: its high word comes from four products of halves.
fn multiplyHigh(a: u32, b: u32) -> u32 {
  let low = (a & 0xffffu) * (b & 0xffffu);
  let middle = (a >> 16u) * (b & 0xffffu) + (low >> 16u);
  let carry = (a & 0xffffu) * (b >> 16u) + (middle & 0xffffu);
  return (a >> 16u) * (b >> 16u) + (middle >> 16u) + (carry >> 16u);
}

fn philox(counter: vec4u, seed: vec2u) -> vec4u {
  var c = counter;
  var k = seed;
${
      Array.from({ length: 10 }, () =>
        `  c = vec4u(multiplyHigh(MULTIPLIER_B, c.z) ^ c.y ^ k.x, MULTIPLIER_B * c.z, multiplyHigh(MULTIPLIER_A, c.x) ^ c.w ^ k.y, MULTIPLIER_A * c.x);
  k += WEYL;`).join("\n")
    }
  return c;
}
${functions}
${lines.attribute}
fn main(${lines.parameters}) {
  ${lines.index}
  if (i >= BLOCKS) { return; }
  let words = philox(vec4u(i, 0u, key[3], key[2]), vec2u(key[0], key[1]));
  let four = ${four};
${
      whole
        ? "  result[i] = four;"
        : ["x", "y", "z", "w"].map((part, place) =>
          `  if (4u * i + ${place}u < COUNT) { result[4u * i + ${place}u] = four.${part}; }`
        ).join("\n")
    }
}
`,
  };
}

/** The words for the first `count` elements in plain arithmetic, for samples. */
export function philoxWords(key: readonly number[], count: number): number[] {
  const words: number[] = [], mask = 0xffffffffn;
  for (let block = 0; words.length < count; block++) {
    let [a, b, c, d] = [BigInt(block), 0n, BigInt(key[3]), BigInt(key[2])];
    let [low, high] = [BigInt(key[0]), BigInt(key[1])];
    for (let round = 0; round < 10; round++) {
      const productA = 0xd2511f53n * a, productB = 0xcd9e8d57n * c;
      [a, b, c, d] = [(productB >> 32n) ^ b ^ low, productB & mask, (productA >> 32n) ^ d ^ high, productA & mask];
      low = (low + 0x9e3779b9n) & mask;
      high = (high + 0xbb67ae85n) & mask;
    }
    words.push(...[a, b, c, d].map(Number));
  }
  return words;
}
