import { type Device, Profiler } from "../engine/mod.ts";

const timedRuns = 16;

/**
 * Milliseconds of one run on the device alone, by timestamps around each of its dispatches: the mean of some runs. What takes a GPU some µs is shorter than
 * what the host needs to submit it, so the clock would show the host. null where the adapter has no timestamps.
 *
 * @param run Queues one run of a program, which has run before.
 */
export async function deviceMs(device: Device, run: () => void | Promise<void>): Promise<number | null> {
  if (!device.gpu.features.has("timestamp-query")) return null;
  const profiler = new Profiler({ skip: 0, runs: timedRuns });
  profiler.start();
  for (let i = 0; i < timedRuns; i++) await run();
  const programs = await profiler.stop();
  return programs.reduce((sum, { stepMs, runs }) => sum + stepMs.reduce((all, ms) => all + ms, 0) / runs, 0);
}
