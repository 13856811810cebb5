import { deepEqual, equal, throws } from "node:assert/strict";
import fc from "fast-check";
import { countElements, decodeFloat32, decodeInt32, encodeFloat32 } from "./element_types.ts";

/** Reads a bfloat16 by its definition: the upper half of a float32. */
function bfloat16(bits: number): number {
  return new Float32Array(new Uint32Array([bits << 16]).buffer)[0];
}

Deno.test("encodeFloat32() rounds to the nearest BF16, ties to even", () => {
  const finite = fc.float({ noNaN: true, min: Math.fround(1e-37), max: Math.fround(3e38) });
  fc.assert(fc.property(finite, (value) => {
    const bits = new Uint16Array(encodeFloat32(new Float32Array([value]), "BF16").buffer)[0];
    const error = Math.abs(bfloat16(bits) - value);
    for (const neighbour of [bits - 1, bits + 1]) {
      const other = Math.abs(bfloat16(neighbour) - value);
      equal(error < other || (error === other && bits % 2 === 0), true, `${value} became ${bfloat16(bits)}`);
    }
  }));
});

Deno.test("encodeFloat32() gives the F16 and BF16 bits of IEEE 754 at the edges", () => {
  // Bits by hand: 1, −2, the largest F16, just below and at the tie to infinity, smallest subnormal, half of it (to even).
  const values = new Float32Array([1, -2, 65504, 65519, 65520, 2 ** -24, 2 ** -25, Infinity]);
  const f16 = new Uint16Array(encodeFloat32(values, "F16").buffer);
  deepEqual([...f16], [0x3c00, 0xc000, 0x7bff, 0x7bff, 0x7c00, 0x0001, 0x0000, 0x7c00]);
  const bf16 = new Uint16Array(encodeFloat32(new Float32Array([1, -2, NaN, -Infinity, 3.4e38]), "BF16").buffer);
  deepEqual([...bf16], [0x3f80, 0xc000, 0x7fc0, 0xff80, 0x7f80]);
});

Deno.test("encodeFloat32() rounds BF16 ties to even and keeps every NaN a NaN", () => {
  // 1 + 2^-8 lies between 0x3f80 and 0x3f81, 1 + 3 · 2^-8 between 0x3f81 and 0x3f82; the last is a NaN with all bits set.
  const words = new Uint32Array([0x3f808000, 0x3f818000, 0x3f808001, 0x3f817fff, 0x7fffffff]);
  const bits = new Uint16Array(encodeFloat32(new Float32Array(words.buffer), "BF16").buffer);
  deepEqual([...bits], [0x3f80, 0x3f82, 0x3f81, 0x3f81, 0x7fc0]);
});

Deno.test("decodeFloat32() gives back what F16 and BF16 hold exactly", () => {
  const values = new Float32Array([0, -0, 0.5, -1.25, 96, Infinity, NaN]);
  for (const type of ["F32", "F16", "BF16"] as const) {
    deepEqual([...decodeFloat32(encodeFloat32(values, type), type)], [...values]);
  }
});

Deno.test("decodeFloat32() reads at offsets that are not aligned", () => {
  const bytes = new Uint8Array([9, 0, 0, 0x80, 0x3f]);
  deepEqual(decodeFloat32(bytes.subarray(1), "F32"), new Float32Array([1]));
});

Deno.test("decodeInt32() names the I64 element that does not fit", () => {
  const wide = new Uint8Array(new BigInt64Array([5n, -(2n ** 31n), 2n ** 31n]).buffer);
  deepEqual(decodeInt32(wide.subarray(0, 16), "I64"), new Int32Array([5, -(2 ** 31)]));
  throws(() => decodeInt32(wide, "I64"), { name: "RangeError", message: /Element 2 is 2147483648/ });
});

Deno.test("decodeFloat32() and decodeInt32() refuse each other's types", () => {
  throws(() => decodeFloat32(new Uint8Array(4), "I32"), { name: "TypeError", message: /I32.*expected F64, F32/ });
  throws(() => decodeInt32(new Uint8Array(4), "F32"), { name: "TypeError", message: /F32.*expected I64, I32/ });
});

Deno.test("countElements() counts a scalar as one element and refuses an overflow", () => {
  deepEqual([[], [0, 5], [2, 3]].map(countElements), [1, 0, 6]);
  throws(() => countElements([2 ** 30, 2 ** 30]), { name: "RangeError" });
});
