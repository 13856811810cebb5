import { equal, ok, throws } from "node:assert/strict";
import { jackknifeHalf, meanInterval, pairedTest, tQuantile, tTail } from "./statistics.ts";

function near(found: number, expected: number, limit: number, what: string) {
  ok(Math.abs(found - expected) <= limit, `${what}: ${found}, expected ${expected}`);
}

Deno.test("tTail() is Student's t where it has a closed form: 1, 2 and 4 degrees of freedom", () => {
  for (const t of [0, 0.3, 1, 2.5, 8, 60]) {
    near(tTail(t, 1), 0.5 - Math.atan(t) / Math.PI, 1e-13, `1, ${t}`);
    near(tTail(t, 2), 0.5 - t / (2 * Math.sqrt(2 + t * t)), 1e-13, `2, ${t}`);
    const s = t / Math.sqrt(4 + t * t);
    near(tTail(t, 4), 0.5 - 0.75 * (s - s ** 3 / 3), 1e-13, `4, ${t}`);
  }
});

Deno.test("tQuantile() has the values of the tables", () => {
  // NIST/SEMATECH e-Handbook of Statistical Methods, 1.3.6.7.2: upper critical values of Student's t, 0.975.
  for (const [degrees, value] of [[1, 12.706], [2, 4.303], [4, 2.776], [9, 2.262], [19, 2.093], [30, 2.042]]) {
    near(tQuantile(0.975, degrees), value, 5e-4, `${degrees}`);
  }
});

Deno.test("meanInterval() is the mean ± t · s / √n", () => {
  // s² = 2.5, n = 5: 2.776445 · √0.5.
  const { mean, half, count } = meanInterval([1, 2, 3, 4, 5]);
  equal(mean, 3);
  equal(count, 5);
  near(half, 2.776445 * Math.sqrt(0.5), 1e-6, "half");
  ok(Number.isNaN(meanInterval([7]).half));
  throws(() => meanInterval([]), /^RangeError: Cannot take a mean: there are no values$/);
});

Deno.test("jackknifeHalf() of a mean is that of meanInterval(), of a ratio of sums what its leave-one-outs say", () => {
  const values = [1, 2, 3, 4, 7], mean = (left: number) => (17 - values[left]) / 4;
  near(jackknifeHalf(5, mean), meanInterval(values).half, 1e-12, "mean");
  // 1/2, 2/2, 3/4 without one pair each: 5/6, 4/6, 3/4; their mean is 3/4, n = 3: t₀.₉₇₅(2) = 4.302653.
  const above = [1, 2, 3], below = [2, 2, 4];
  const ratio = (left: number) => (6 - above[left]) / (8 - below[left]);
  near(jackknifeHalf(3, ratio), 4.302653 * Math.sqrt(2 / 3 * 2 * (1 / 12) ** 2), 1e-6, "ratio");
  ok(Number.isNaN(jackknifeHalf(1, mean)));
});

Deno.test("pairedTest() tests the differences of pairs", () => {
  // Differences 1, 2, 3: t = 2 / (1 / √3) = 3.4641 at 2 degrees; p = 1 − t / √(2 + t²).
  const { mean, p, count } = pairedTest([2, 4, 6], [1, 2, 3]), t = 2 * Math.sqrt(3);
  equal(mean, 2);
  equal(count, 3);
  near(p, 1 - t / Math.sqrt(2 + t * t), 1e-12, "p");
  // The sign does not matter, and the order of the pairs neither.
  near(pairedTest([1, 3, 2], [2, 6, 4]).p, p, 1e-12, "p turned");
  equal(pairedTest([1, 2], [1, 2]).p, 1);
  equal(pairedTest([2, 3], [1, 2]).p, 0);
  ok(Number.isNaN(pairedTest([1], [2]).p));
  throws(() => pairedTest([1], [1, 2]), /1 values and 2, must be as many$/);
});
