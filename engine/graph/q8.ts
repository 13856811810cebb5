import { q8Block } from "./types.ts";

/** Largest whole number that a value is stored as. */
const most = 127;

/**
 * Numbers as `q8` stores them: of every 32 the largest absolute value, as f32 bits, then each as the nearest number of 127ths of it, four in a
 * word, the first in the lowest byte. The error is at most a 254th of the largest. A block with a number that is not finite reads as NaN.
 *
 * @throws {RangeError} If 32 does not divide their count.
 */
export function toQ8(values: ArrayLike<number>): Uint32Array<ArrayBuffer> {
  const { elements, words } = q8Block;
  if (values.length % elements !== 0) {
    throw new RangeError(`Cannot store ${values.length} numbers as q8: they come in blocks of ${elements}`);
  }
  const stored = new Uint32Array(values.length / elements * words);
  const scales = new Float32Array(stored.buffer), bytes = new DataView(stored.buffer);
  for (let block = 0; block * elements < values.length; block++) {
    const first = block * elements, word = block * words;
    let largest = 0;
    for (let i = first; i < first + elements; i++) largest = Math.max(largest, Math.abs(values[i]));
    scales[word] = Number.isFinite(largest) ? largest : NaN;
    if (!(scales[word] > 0)) continue;
    for (let i = 0; i < elements; i++) {
      bytes.setInt8((word + 1) * 4 + i, Math.round(values[first + i] / largest * most));
    }
  }
  return stored;
}

/** The numbers that `q8` words stand for, as kernels read them. */
export function fromQ8(stored: Uint32Array<ArrayBuffer>): Float32Array<ArrayBuffer> {
  const { elements, words } = q8Block, blocks = stored.length / words;
  const scales = new Float32Array(stored.buffer, stored.byteOffset, stored.length);
  const bytes = new Int8Array(stored.buffer, stored.byteOffset, stored.byteLength);
  return Float32Array.from({ length: blocks * elements }, (_, i) => {
    const word = Math.floor(i / elements) * words;
    return bytes[(word + 1) * 4 + i % elements] / most * scales[word];
  });
}
