import { ok } from "node:assert/strict";
import process from "node:process";

/** How many cases a property is tried with: as many as FUZZ_RUNS says (`deno task fuzz`), otherwise few. */
export function runsOf(ordinary: number): number {
  return Number(Deno.env.get("FUZZ_RUNS") ?? ordinary);
}

/** Longest that a file of some kilobytes may take, however it is made; a machine may be busy. */
const maxMilliseconds = 5000;
/** A file of some kilobytes may not make the process larger by more. */
const maxGrowthBytes = 400 * 2 ** 20;

/** Runs a property's case within bounds of time and memory. */
export async function bounded(run: () => Promise<void>): Promise<void> {
  const start = performance.now(), startBytes = process.memoryUsage().rss;
  await run();
  const milliseconds = performance.now() - start, growthBytes = process.memoryUsage().rss - startBytes;
  ok(milliseconds < maxMilliseconds, `it took ${milliseconds} ms`);
  ok(growthBytes < maxGrowthBytes, `it took ${growthBytes} bytes of memory`);
}
