import { ok } from "node:assert/strict";
import process from "node:process";

/** Most CPU time that a file of some kilobytes may take, however it is made: a machine that is busy makes the time on the clock longer. */
const maxMilliseconds = 5000;
/** A file of some kilobytes may not make the process larger by more. */
const maxGrowthBytes = 400 * 2 ** 20;

/** Runs a case within bounds of time and memory. */
export async function bounded(run: () => Promise<void>): Promise<void> {
  const start = process.cpuUsage(), before = process.memoryUsage();
  await run();
  const { user, system } = process.cpuUsage(start), after = process.memoryUsage();
  ok((user + system) / 1000 < maxMilliseconds, `it took ${(user + system) / 1000} ms of CPU time`);
  // A buffer that was asked for and never touched is not resident, but it is external.
  for (const kind of ["rss", "external"] as const) {
    const growthBytes = after[kind] - before[kind];
    ok(growthBytes < maxGrowthBytes, `it took ${growthBytes} bytes of memory (${kind})`);
  }
}
