import type { Program } from "../plan/plan.ts";

/** How long each step of a program took, and what the host did meanwhile. */
export interface ProgramTimes {
  readonly program: Program;
  /** Runs of the program so far, timed or not. */
  readonly allRuns: number;
  /** Runs that were timed by timestamps; 0 where the profiler has none. */
  readonly runs: number;
  /** Milliseconds on the device of each of the program's steps, summed over the timed runs; 0 for cleared buffers, and without timestamps. */
  readonly stepMs: Float64Array;
  /** Milliseconds that the host took to feed and encode ordinary runs, without submitting them, summed; the first run, which binds, is left out. */
  readonly hostMs: number;
  readonly hostRuns: number;
  /** Dispatches of a run: fewer than steps, where some share one. */
  readonly dispatches: number;
}

/** What a run that is timed writes its clock readings into. */
export interface RunClock {
  /** For the pass of the n-th dispatch. */
  writes(dispatch: number): GPUComputePassTimestampWrites;
  /** After the last dispatch. */
  resolve(encoder: GPUCommandEncoder): void;
}

interface Times {
  allRuns: number;
  runs: number;
  stepMs: Float64Array;
  hostMs: number;
  hostRuns: number;
  dispatches: number;
}

/** WebGPU's most queries of one set. */
const setQueries = 4096;

let current: Profiler | null = null;

/** The profiler that programs report to now; null when nobody asked. */
export function activeProfiler(): Profiler | null {
  return current;
}

/**
 * Times every dispatch of some runs of each program, by timestamps around a pass of its own. Runs that are timed take longer as a whole, since
 * ordinary runs have all dispatches in one pass; single dispatches do not.
 */
export class Profiler {
  private readonly times = new Map<Program, Times>();
  private readonly open: Promise<void>[] = [];

  /**
   * @param options.skip Runs of each program before the first that is timed: they compile and warm caches.
   * @param options.runs Runs of each program that are timed.
   * @param options.timestamps False: counts runs and times the host alone, for adapters that cannot time dispatches.
   */
  constructor(
    private readonly options: { readonly skip: number; readonly runs: number; readonly timestamps?: boolean },
  ) {}

  /** Programs report to this profiler from now on, until `stop`. */
  start(): void {
    current = this;
  }

  /** Waits for all timed runs and gives the times of every program that ran often enough, longest first; without timestamps in the order of their first runs. */
  async stop(): Promise<ProgramTimes[]> {
    if (current === this) current = null;
    await Promise.all(this.open);
    const total = ({ stepMs, runs, allRuns }: ProgramTimes) => stepMs.reduce((a, b) => a + b, 0) / runs * allRuns;
    return [...this.times].map(([program, times]) => ({ program, ...times }))
      .filter(({ runs, allRuns }) => this.options.timestamps === false ? allRuns > this.options.skip : runs > 0)
      .toSorted((a, b) => this.options.timestamps === false ? 0 : total(b) - total(a));
  }

  /** Called by a program before a run: a clock when the run is to be timed. */
  begin(gpu: GPUDevice, program: Program, dispatches: readonly (readonly number[])[]): RunClock | null {
    const times = this.timesOf(program), run = times.allRuns++;
    times.dispatches = dispatches.length;
    if (this.options.timestamps === false) return null;
    if (!gpu.features.has("timestamp-query")) {
      throw new Error("Cannot profile: the adapter has no timestamp-query");
    }
    if (run < this.options.skip || run >= this.options.skip + this.options.runs) return null;
    const sets: GPUQuerySet[] = [];
    for (let left = 2 * dispatches.length; left > 0; left -= setQueries) {
      sets.push(gpu.createQuerySet({ type: "timestamp", count: Math.min(left, setQueries) }));
    }
    return {
      writes: (dispatch) => {
        const query = 2 * dispatch % setQueries;
        return {
          querySet: sets[Math.floor(2 * dispatch / setQueries)],
          beginningOfPassWriteIndex: query,
          endOfPassWriteIndex: query + 1,
        };
      },
      resolve: (encoder) => {
        const size = 16 * dispatches.length, usage = GPUBufferUsage;
        const resolved = gpu.createBuffer({ size, usage: usage.QUERY_RESOLVE | usage.COPY_SRC });
        const readable = gpu.createBuffer({ size, usage: usage.COPY_DST | usage.MAP_READ });
        sets.forEach((set, i) => encoder.resolveQuerySet(set, 0, set.count, resolved, i * setQueries * 8));
        encoder.copyBufferToBuffer(resolved, 0, readable, 0, size);
        // Mapping has to be asked after the submit that this encoder ends in.
        this.open.push(
          Promise.resolve().then(async () => {
            await readable.mapAsync(GPUMapMode.READ);
            const ticks = new BigUint64Array(readable.getMappedRange());
            // Steps of one dispatch share its time: how long each took in it, nothing tells.
            for (const [i, steps] of dispatches.entries()) {
              const milliseconds = Number(ticks[2 * i + 1] - ticks[2 * i]) / 1e6;
              for (const step of steps) times.stepMs[step] += milliseconds / steps.length;
            }
            times.runs++;
            readable.destroy();
            resolved.destroy();
            sets.forEach((set) => set.destroy());
          }),
        );
      },
    };
  }

  /** Called by a program after an ordinary run. */
  addHostTime(program: Program, milliseconds: number): void {
    const times = this.timesOf(program);
    if (times.allRuns < 2) return;
    times.hostMs += milliseconds;
    times.hostRuns++;
  }

  private timesOf(program: Program): Times {
    let times = this.times.get(program);
    if (!times) {
      const stepMs = new Float64Array(program.steps.length);
      times = { allRuns: 0, runs: 0, stepMs, hostMs: 0, hostRuns: 0, dispatches: 0 };
      this.times.set(program, times);
    }
    return times;
  }
}
