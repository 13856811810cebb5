import type { EpochPhase } from "../../training/phases.ts";

/**
 * Measures the optimizer steps of each phase of a training. What is compiled in a phase's first step does not count, nor what is done `without` it.
 */
export class StepClock {
  private phase: EpochPhase | null = null;
  /** Seconds at the end of the phase's first step; null before. */
  private startedAt: number | null = null;
  private steps = 0;
  private leftOut = 0;

  /**
   * @param keep Hears of a phase that is over.
   * @param now Seconds.
   */
  constructor(
    private readonly keep: (phase: EpochPhase, secondsPerStep: number) => Promise<void>,
    private readonly now = () => performance.now() / 1000,
  ) {}

  /**
   * An epoch of this phase begins.
   *
   * @param wait Waits for the device; only asked where the phase is another one.
   */
  async begin(phase: EpochPhase, wait: () => Promise<void>): Promise<void> {
    if (JSON.stringify(phase) === JSON.stringify(this.phase)) return;
    await wait();
    await this.finish();
    this.phase = phase;
  }

  /** Whether the next step should be waited for: the phase's first two, so that the time left is known early. */
  get waits(): boolean {
    return this.startedAt === null || this.steps === 0;
  }

  /** A step was done, or queued. */
  step(): void {
    if (this.startedAt === null) this.startedAt = this.now();
    else this.steps++;
  }

  /** Does work that is no part of a step; the device has nothing to do at its beginning and end. */
  async without<T>(work: () => Promise<T>): Promise<T> {
    const before = this.now();
    try {
      return await work();
    } finally {
      if (this.startedAt !== null) this.leftOut += this.now() - before;
    }
  }

  /** The phase is over; the device has nothing to do. One step alone, with what was compiled in it, says nothing. */
  async finish(): Promise<void> {
    const { phase, startedAt, steps, leftOut } = this;
    this.phase = this.startedAt = null;
    this.steps = this.leftOut = 0;
    if (phase && startedAt !== null && steps > 0) await this.keep(phase, (this.now() - startedAt - leftOut) / steps);
  }
}
