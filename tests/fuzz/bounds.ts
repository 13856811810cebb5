import { ok } from "node:assert/strict";
import process from "node:process";

/** Longest that a file of some kilobytes may take, however it is made; a machine may be busy. */
const maxMilliseconds = 5000;
/** A file of some kilobytes may not make the process larger by more. */
const maxGrowthBytes = 400 * 2 ** 20;

/** Runs a case within bounds of time and memory. */
export async function bounded(run: () => Promise<void>): Promise<void> {
  const start = performance.now(), before = process.memoryUsage();
  await run();
  const milliseconds = performance.now() - start, after = process.memoryUsage();
  ok(milliseconds < maxMilliseconds, `it took ${milliseconds} ms`);
  // A buffer that was asked for and never touched is not resident, but it is external.
  for (const kind of ["rss", "external"] as const) {
    const growthBytes = after[kind] - before[kind];
    ok(growthBytes < maxGrowthBytes, `it took ${growthBytes} bytes of memory (${kind})`);
  }
}
