/**
 * Philox 4x32-10, a counter-based generator: the same counter and key always give the same four numbers, so any step of
 * a run can be repeated alone.
 *
 * @see Salmon et al. 2011, "Parallel Random Numbers: As Easy as 1, 2, 3", https://doi.org/10.1145/2063384.2063405
 * @module
 */

/** Four 32-bit words: the counter, or the numbers drawn for it. */
export type Words4 = readonly [number, number, number, number];

const multiplierA = 0xd2511f53;
const multiplierB = 0xcd9e8d57;
const weylA = 0x9e3779b9;
const weylB = 0xbb67ae85;
const rounds = 10;

/** High 32 bits of the 64-bit product of two unsigned 32-bit numbers. */
function multiplyHigh(a: number, b: number): number {
  const aLow = a & 0xffff;
  const aHigh = a >>> 16;
  const bLow = b & 0xffff;
  const bHigh = b >>> 16;
  const middle = aHigh * bLow + ((aLow * bLow) >>> 16);
  const carry = aLow * bHigh + (middle & 0xffff);
  return (aHigh * bHigh + Math.floor(middle / 0x10000) + Math.floor(carry / 0x10000)) >>> 0;
}

/**
 * One block of Philox 4x32-10: four 32-bit numbers from a 128-bit counter and a 64-bit key.
 *
 * @param counter Four unsigned 32-bit words, the least significant first.
 * @param key Two unsigned 32-bit words, the least significant first.
 * @example The zero counter and key of the authors' known-answer file
 * ```ts
 * import { deepEqual } from "node:assert/strict";
 * deepEqual(philox4x32([0, 0, 0, 0], [0, 0]), [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
 * ```
 */
export function philox4x32(counter: Words4, key: readonly [number, number]): Words4 {
  let [c0, c1, c2, c3] = counter;
  let [k0, k1] = key;
  for (let round = 0; round < rounds; round++) {
    const highA = multiplyHigh(multiplierA, c0);
    const lowA = Math.imul(multiplierA, c0) >>> 0;
    const highB = multiplyHigh(multiplierB, c2);
    const lowB = Math.imul(multiplierB, c2) >>> 0;
    [c0, c1, c2, c3] = [(highB ^ c1 ^ k0) >>> 0, lowB, (highA ^ c3 ^ k1) >>> 0, lowA];
    k0 = (k0 + weylA) >>> 0;
    k1 = (k1 + weylB) >>> 0;
  }
  return [c0, c1, c2, c3];
}

/** What a {@linkcode RandomStream} is keyed by. */
export interface RandomStreamKey {
  /** Seed of the run: an integer from 0 to 2^53 - 1. */
  readonly seed: number;
  /** What the numbers are for, so that two uses never share numbers: an unsigned 32-bit integer. */
  readonly stream: number;
  /** Step, epoch or other position in the run: an unsigned 32-bit integer. */
  readonly step: number;
  /** One of many things in the step, such as a sample, so that each has numbers of its own: an unsigned 32-bit integer, 0 when left out. */
  readonly item?: number;
}

function checkInteger(name: string, value: number, largest: number): void {
  if (!Number.isInteger(value) || value < 0 || value > largest) {
    throw new RangeError(`Cannot make a random stream: ${name} is ${value}, must be an integer from 0 to ${largest}`);
  }
}

/**
 * Random numbers of one (seed, stream, step, item): Philox with the seed as key and (block, item, step, stream) as counter.
 *
 * @throws {RangeError} If seed, stream, step or item is out of range.
 * @example Keyed alike, drawn alike
 * ```ts
 * import { equal, notEqual } from "node:assert/strict";
 * const key = { seed: 7, stream: 1, step: 3 };
 * equal(new RandomStream(key).nextFloat(), new RandomStream(key).nextFloat());
 * notEqual(new RandomStream(key).nextFloat(), new RandomStream({ ...key, step: 4 }).nextFloat());
 * ```
 */
export class RandomStream {
  readonly #key: readonly [number, number];
  readonly #step: number;
  readonly #item: number;
  readonly #stream: number;
  #block = 0;
  #words: Words4 = [0, 0, 0, 0];
  #used = 4;

  constructor(key: RandomStreamKey) {
    checkInteger("seed", key.seed, Number.MAX_SAFE_INTEGER);
    checkInteger("stream", key.stream, 0xffffffff);
    checkInteger("step", key.step, 0xffffffff);
    checkInteger("item", key.item ?? 0, 0xffffffff);
    this.#key = [key.seed >>> 0, Math.floor(key.seed / 0x100000000)];
    this.#stream = key.stream;
    this.#step = key.step;
    this.#item = key.item ?? 0;
  }

  /** The next unsigned 32-bit number. */
  nextUint32(): number {
    if (this.#used === 4) {
      this.#words = philox4x32([this.#block++, this.#item, this.#step, this.#stream], this.#key);
      this.#used = 0;
    }
    return this.#words[this.#used++];
  }

  /** The next number in [0, 1), a multiple of 2^-32. */
  nextFloat(): number {
    return this.nextUint32() / 0x100000000;
  }

  /**
   * The next integer from 0 to limit - 1, each equally likely.
   *
   * @throws {RangeError} If limit is not an integer from 1 to 2^32.
   */
  nextInteger(limit: number): number {
    if (!Number.isInteger(limit) || limit < 1 || limit > 0x100000000) {
      throw new RangeError(`Cannot draw an integer: limit is ${limit}, must be an integer from 1 to ${0x100000000}`);
    }
    // Words above the last whole multiple of limit would favour small results.
    const end = 0x100000000 - (0x100000000 % limit);
    let word = this.nextUint32();
    while (word >= end) word = this.nextUint32();
    return word % limit;
  }

  /** The next `count` numbers of the standard normal distribution, two from each pair of words by Box and Muller's method. */
  nextNormals(count: number): Float64Array {
    const drawn = new Float64Array(count);
    for (let at = 0; at < count; at += 2) {
      // In (0, 1], so that the logarithm is finite.
      const radius = Math.sqrt(-2 * Math.log((this.nextUint32() + 1) / 0x100000000));
      const angle = 2 * Math.PI * this.nextFloat();
      drawn[at] = radius * Math.cos(angle);
      if (at + 1 < count) drawn[at + 1] = radius * Math.sin(angle);
    }
    return drawn;
  }

  /** Shuffles a list in place, every order equally likely (Fisher and Yates). */
  shuffle<T>(items: T[]): void {
    for (let last = items.length - 1; last > 0; last--) {
      const other = this.nextInteger(last + 1);
      [items[last], items[other]] = [items[other], items[last]];
    }
  }
}
