/**
 * `a · bᵀ` of two row-major matrices with rows of one length: what their rows make with each other. Summed in f64, in a fixed order.
 *
 * Eight sums at a time, four rows of `a` with two of `b`, so that a number that was read counts in several of them.
 *
 * @param length Numbers in a row.
 * @returns `[rows of a, rows of b]`, row-major.
 * @example
 * ```ts
 * import { deepEqual } from "node:assert/strict";
 * deepEqual(rowProducts(Float32Array.of(1, 2, 3, 4), Float32Array.of(1, 1), 2), Float64Array.of(3, 7));
 * ```
 */
export function rowProducts(a: Float32Array, b: Float32Array, length: number): Float64Array {
  const aRows = a.length / length, bRows = b.length / length, products = new Float64Array(aRows * bRows);
  const lastA = aRows - 1, lastB = bRows - 1;
  for (let i = 0; i < aRows; i += 4) {
    // Beyond the last row it is taken again: its products are then written twice.
    const [i1, i2, i3] = [Math.min(i + 1, lastA), Math.min(i + 2, lastA), Math.min(i + 3, lastA)];
    const [a0, a1, a2, a3] = [i * length, i1 * length, i2 * length, i3 * length];
    for (let j = 0; j < bRows; j += 2) {
      const j1 = Math.min(j + 1, lastB), b0 = j * length, b1 = j1 * length;
      let s00 = 0, s01 = 0, s10 = 0, s11 = 0, s20 = 0, s21 = 0, s30 = 0, s31 = 0;
      for (let k = 0; k < length; k++) {
        const x = b[b0 + k], y = b[b1 + k], p = a[a0 + k], q = a[a1 + k], r = a[a2 + k], s = a[a3 + k];
        s00 += p * x;
        s01 += p * y;
        s10 += q * x;
        s11 += q * y;
        s20 += r * x;
        s21 += r * y;
        s30 += s * x;
        s31 += s * y;
      }
      products[i * bRows + j] = s00;
      products[i * bRows + j1] = s01;
      products[i1 * bRows + j] = s10;
      products[i1 * bRows + j1] = s11;
      products[i2 * bRows + j] = s20;
      products[i2 * bRows + j1] = s21;
      products[i3 * bRows + j] = s30;
      products[i3 * bRows + j1] = s31;
    }
  }
  return products;
}

/** The transpose of a row-major matrix, row-major. */
export function transposed(values: Float32Array, rows: number): Float32Array {
  const columns = values.length / rows, turned = new Float32Array(values.length);
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) turned[j * rows + i] = values[i * columns + j];
  return turned;
}
