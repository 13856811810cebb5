import { ok } from "node:assert/strict";
import process from "node:process";

/** Most CPU time that a file of some kilobytes may take, however it is made: a machine that is busy makes the time on the clock longer. */
const maxMilliseconds = 5000;
/** A file of some kilobytes may not make the process larger by more, not even for a moment. */
const maxGrowthBytes = 400 * 2 ** 20;

/** The most memory that the process ever had; it never falls. */
export function highestBytes(): number {
  return process.resourceUsage().maxRSS * 1024;
}

/** Runs a case within bounds of time and memory. */
export async function bounded(run: () => Promise<void>): Promise<void> {
  const start = process.cpuUsage(), before = process.memoryUsage(), highestBefore = highestBytes();
  await run();
  const { user, system } = process.cpuUsage(start), after = process.memoryUsage(), highest = highestBytes();
  ok((user + system) / 1000 < maxMilliseconds, `it took ${(user + system) / 1000} ms of CPU time`);
  // A case that was not the highest so far took no more than the one that was, and that one was within the bound.
  const peak = highest > highestBefore ? highest : after.rss;
  // A buffer that was asked for and never touched is not resident, but it is external.
  const grown = { resident: peak - before.rss, external: after.external - before.external };
  for (const [kind, growthBytes] of Object.entries(grown)) {
    ok(growthBytes < maxGrowthBytes, `it took ${growthBytes} bytes of memory (${kind})`);
  }
}
