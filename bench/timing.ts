import { cpuUsage } from "node:process";

/** What is timed: runs that are queued, and a way to wait for them. */
export interface Work {
  /** Queues one run without waiting for the device. */
  run(): void | Promise<void>;
  /** Waits for all runs so far, by reading back. */
  wait(): Promise<void>;
}

/** Times of one run, in milliseconds. */
export interface Timing {
  /** Median over the batches of wall-clock time. */
  readonly medianMs: number;
  readonly minMs: number;
  readonly maxMs: number;
  /** Median over the batches of the process's CPU time, all threads. */
  readonly cpuMs: number;
  /** Batches that were timed. */
  readonly batches: number;
  /** Runs in each batch. */
  readonly runsPerBatch: number;
}

/** A batch is made longer until it takes so long: the readback at its end, some 12 ms, must be small beside it. */
const wantedBatchMs = 200;
const mostRunsPerBatch = 1024;
const fewestBatches = 5;
const mostBatches = 20;

/**
 * Times batches of runs.
 *
 * One run compiles and is not counted. Then batches are doubled until one is long enough, and more of that length follow: up to five in
 * the given time, further ones in its first quarter.
 *
 * @param options.seconds Time for all batches together; a batch that has begun is always finished.
 */
export async function timeRuns(work: Work, { seconds }: { seconds: number }): Promise<Timing> {
  await timeBatch(work, 1);
  const start = performance.now();
  let runs = 1, last = await timeBatch(work, runs);
  while (isTooShort(last, runs)) last = await timeBatch(work, runs *= 2);
  const batches = [last];
  const elapsedMs = () => performance.now() - start;
  while (wantsMore(batches.length, elapsedMs(), seconds)) batches.push(await timeBatch(work, runs));
  return summarize(batches, runs);
}

/** Whether another batch is to be timed: up to five in the given time, further ones in its first quarter. */
export function wantsMore(batches: number, elapsedMs: number, seconds: number): boolean {
  const share = elapsedMs / 1000 / seconds;
  return share < 1 && batches < mostBatches && (batches < fewestBatches || share < 1 / 4);
}

/** Whether a batch is too short beside the readback at its end, so that one of twice as many runs is to be timed instead. */
export function isTooShort({ wallMs }: Batch, runs: number): boolean {
  return wallMs < wantedBatchMs && runs < mostRunsPerBatch;
}

/** What one batch took as a whole, in milliseconds. */
export interface Batch {
  readonly wallMs: number;
  readonly cpuMs: number;
}

/** The times of one run, by batches of equally many. */
export function summarize(batches: readonly Batch[], runsPerBatch: number): Timing {
  const wall = sorted(batches.map(({ wallMs }) => wallMs / runsPerBatch));
  const cpu = sorted(batches.map(({ cpuMs }) => cpuMs / runsPerBatch)), middle = batches.length >> 1;
  return {
    medianMs: wall[middle],
    minMs: wall[0],
    maxMs: wall[wall.length - 1],
    cpuMs: cpu[middle],
    batches: batches.length,
    runsPerBatch,
  };
}

/** Times one batch of runs, with the wait at its end. */
export async function timeBatch(work: Work, runs: number): Promise<Batch> {
  const start = performance.now(), before = cpuUsage();
  for (let i = 0; i < runs; i++) await work.run();
  await work.wait();
  const { user, system } = cpuUsage(before);
  return { wallMs: performance.now() - start, cpuMs: (user + system) / 1000 };
}

function sorted(values: readonly number[]): number[] {
  return values.toSorted((a, b) => a - b);
}
