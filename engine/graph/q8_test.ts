import { deepEqual, ok, throws } from "node:assert/strict";
import { fromQ8, toQ8 } from "./q8.ts";

Deno.test("toQ8() writes the largest absolute value of each 32 numbers, then each as the nearest 127th of it, four in a word", () => {
  const values = new Float32Array(64);
  values.set([0.5, -0.5, 0.25, 0.1], 0);
  values.set([-127, 126.4, 126.6, 1], 32);
  const stored = toQ8(values);
  // 0.5 is 0x3f000000 and 127 is 0x42fe0000. Of 127ths of 0.5, 0.25 is 63.5, rounded up, and 0.1 is 25.4.
  deepEqual([...stored.slice(0, 3)], [0x3f000000, 0x1940817f, 0]);
  deepEqual([...stored.slice(9, 12)], [0x42fe0000, 0x017f7e81, 0]);
  deepEqual(stored.length, 18);
});

Deno.test("fromQ8() gives numbers back to within a 254th of the largest of their 32", () => {
  const values = Float32Array.from({ length: 32 * 50 }, (_, i) => Math.sin(i * i) * 2 ** (i >> 6));
  const found = fromQ8(toQ8(values));
  for (let block = 0; block < 50; block++) {
    const part = values.slice(block * 32, block * 32 + 32), largest = Math.max(...part.map(Math.abs));
    part.forEach((value, i) => ok(Math.abs(found[block * 32 + i] - value) <= largest / 254 * (1 + 1e-5)));
  }
});

Deno.test("numbers that are not finite make their 32 NaN in q8, and no others", () => {
  for (const bad of [NaN, Infinity, -Infinity]) {
    const values = new Float32Array(96).fill(1);
    values[40] = bad;
    const found = fromQ8(toQ8(values));
    deepEqual([...found], [...Array(32).fill(1), ...Array(32).fill(NaN), ...Array(32).fill(1)]);
  }
});

Deno.test("toQ8() keeps a block of zeros, and refuses what is no whole number of blocks", () => {
  deepEqual([...fromQ8(toQ8(new Float32Array(32)))], Array(32).fill(0));
  throws(() => toQ8(new Float32Array(33)), {
    name: "RangeError",
    message: "Cannot store 33 numbers as q8: they come in blocks of 32",
  });
});
