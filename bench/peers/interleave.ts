import type { Op, Pass } from "../op_list.ts";
import { type Batch, isTooShort, summarize, type Timing, wantsMore } from "../timing.ts";

/** A program that runs ops, in a process of its own. */
export interface Runner {
  /** Puts a pass of an op on the device and runs it once; gives the result's check. */
  prepare(op: Op, pass: Pass): Promise<number>;
  /** Times a batch of runs of it. */
  batch(runs: number): Promise<Batch>;
}

/** What a runner showed, or why it did not. */
export type Outcome = { readonly check: number; readonly timing: Timing } | { readonly skipped: string };

/**
 * Times a pass of an op in all runners, a batch of each in turn, so that whatever else the machine does disturbs all alike.
 *
 * Each decides by its own time when it has enough batches, as `timeRuns` does: a slow one gets fewer, but at least one.
 *
 * @param options.seconds Time for each runner's batches.
 */
export async function measureInterleaved(
  runners: readonly Runner[],
  op: Op,
  pass: Pass,
  { seconds }: { seconds: number },
): Promise<Outcome[]> {
  const measurements: Measurement[] = [];
  for (const runner of runners) measurements.push(await Measurement.start(runner, op, pass));
  while (measurements.some((each) => each.isOpen(seconds))) {
    for (const each of measurements) if (each.isOpen(seconds)) await each.next();
  }
  return measurements.map((each) => each.outcome());
}

/** One runner's batches of one pass. */
class Measurement {
  private runs = 1;
  private readonly batches: Batch[] = [];
  private spentMs = 0;

  private constructor(private readonly runner: Runner, private readonly check: number, private skipped?: string) {}

  static async start(runner: Runner, op: Op, pass: Pass): Promise<Measurement> {
    try {
      return new Measurement(runner, await runner.prepare(op, pass));
    } catch (error) {
      return new Measurement(runner, NaN, (error as Error).message);
    }
  }

  isOpen(seconds: number): boolean {
    if (this.skipped !== undefined) return false;
    return this.batches.length === 0 || wantsMore(this.batches.length, this.spentMs, seconds);
  }

  async next(): Promise<void> {
    try {
      const batch = await this.runner.batch(this.runs);
      this.spentMs += batch.wallMs;
      if (this.batches.length === 0 && isTooShort(batch, this.runs)) this.runs *= 2;
      else this.batches.push(batch);
    } catch (error) {
      this.skipped = (error as Error).message;
    }
  }

  outcome(): Outcome {
    if (this.skipped !== undefined) return { skipped: this.skipped };
    return { check: this.check, timing: summarize(this.batches, this.runs) };
  }
}
