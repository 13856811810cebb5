import { deepEqual, throws } from "node:assert/strict";
import { smooth, smoothingWindow } from "./smooth.ts";

Deno.test("smooth() takes the mean of what is there on both sides", () => {
  // [(1+2)/2, (1+2+6)/3, (2+6+10)/3, (6+10)/2]
  deepEqual(smooth([1, 2, 6, 10], 3), [1.5, 3, 6, 8]);
  deepEqual(smooth([1, 2, 6, 10], 99), [4.75, 4.75, 4.75, 4.75]);
});

Deno.test("smooth() changes nothing with a window of 1, and neither lines nor empty lists with any", () => {
  deepEqual(smooth([3, -1, 2], 1), [3, -1, 2]);
  deepEqual(smooth([], 5), []);
  deepEqual(smooth([0, 1, 2, 3, 4], 3).slice(1, -1), [1, 2, 3]);
});

Deno.test("smooth() refuses windows that have no middle", () => {
  for (const window of [0, 2, -1, 1.5, NaN]) throws(() => smooth([1], window), RangeError);
});

Deno.test("smoothingWindow() is odd, 1 for short runs, a twentieth of long ones", () => {
  deepEqual([0, 1, 19, 20, 400, 1000].map(smoothingWindow), [1, 1, 1, 3, 21, 51]);
});
