import fc from "fast-check";
import { bounded, highestBytes } from "./bounds.ts";

/** `deno task fuzz` multiplies the ordinary number of cases, which are to take seconds. */
const times = Number(Deno.env.get("FUZZ_TIMES") ?? 1);
const casesInChunk = 5000;

let total = 0;
const started = performance.now();
globalThis.addEventListener("unload", () => {
  if (times === 1) return;
  const seconds = (performance.now() - started) / 1000, megabytes = highestBytes() / 2 ** 20;
  console.log(`${total} cases in ${seconds.toFixed(0)} s; at most ${megabytes.toFixed(0)} MB of memory so far`);
});

/**
 * Adds a test that tries something with many made-up values, each within bounds of time and memory.
 *
 * @param cases How many, in the ordinary tests.
 * @param holds Throws where what is claimed does not hold for a value.
 */
export function fuzzTest<Value>(
  name: string,
  cases: number,
  values: fc.Arbitrary<Value>,
  holds: (value: Value) => Promise<void>,
): void {
  Deno.test(name, async () => {
    const property = fc.asyncProperty(values, (value) => bounded(() => holds(value)));
    // In chunks, each with a seed of its own: fast-check keeps what it needs to find the smallest value that fails.
    for (let left = cases * times; left > 0; left -= casesInChunk) {
      const numRuns = Math.min(left, casesInChunk);
      await fc.assert(property, { numRuns });
      total += numRuns;
    }
  });
}
