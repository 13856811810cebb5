import { nameProblem } from "../../steps/values/file_name.ts";
import { UsageError } from "../usage_error.ts";
import type { NamedRun, PlacedValue, PlacedValues, SweepFile } from "./sweep_file.ts";

/** One run of a sweep, resolved. */
export interface SweepRun {
  /** Also its folder's. */
  readonly name: string;
  /** All that is given, by flag. */
  readonly values: PlacedValues;
  /** What the run does not share with all others. */
  readonly own: Readonly<Record<string, unknown>>;
  /** Where to look if something is wrong with it that no single value is to blame for. */
  readonly place: string;
}

/**
 * All runs of a sweep, in a stable order: the grid, the first flag slowest, then `[[run]]`; each with every seed, seeds fastest. A `[[run]]` with a seed of its own
 * has that one.
 *
 * @throws {UsageError} With file and line, if there is nothing to sweep, a name cannot be a folder's, or two runs have one name or the same settings.
 */
export function expandSweep(sweep: SweepFile): SweepRun[] {
  const { path, grid, seeds, runs } = sweep;
  const start = `${path}, line 1`;
  if (grid.size === 0 && seeds.length === 0 && runs.length === 0) {
    throw new UsageError(`${start}: nothing to sweep; give [grid], seeds or [[run]]`);
  }
  // Without a grid, the seeds are those of [[run]], or of the settings as they are.
  const isGridLeftOut = grid.size === 0 && runs.length > 0;
  const points = isGridLeftOut ? [] : [...gridPoints(grid)].map((values): NamedRun => ({
    name: [...values].map(([flag, { value }]) => `${flag}-${wordOf(value)}`).join("_"),
    values,
    place: [...values.values()][0]?.place ?? start,
  }));
  const made = [...points, ...runs].flatMap((run) => withSeeds(run, seeds)).map((
    { name, values, place },
  ): SweepRun => ({
    name,
    values: new Map([...sweep.settings, ...values]),
    own: Object.fromEntries([...values].map(([flag, { value }]) => [flag, value])),
    place,
  }));
  made.forEach(checkName);
  checkDifferent(made);
  return made;
}

function gridPoints(grid: SweepFile["grid"]): PlacedValues[] {
  return [...grid].reduce<PlacedValues[]>(
    (points, [flag, values]) => points.flatMap((point) => values.map((value) => new Map([...point, [flag, value]]))),
    [new Map()],
  );
}

function withSeeds(run: NamedRun, seeds: readonly PlacedValue[]): NamedRun[] {
  if (seeds.length === 0 || run.values.has("seed")) return [run];
  return seeds.map((seed) => ({
    name: [run.name, `seed-${wordOf(seed.value)}`].filter((word) => word !== "").join("_"),
    values: new Map([...run.values, ["seed", seed]]),
    place: run.place,
  }));
}

/** A value as a part of a folder's name. */
function wordOf(value: unknown): string {
  const text = Array.isArray(value) ? value.join("-") : String(value);
  return text.replaceAll(/[^\p{L}\p{N}_.-]+/gu, "-").replaceAll(/^[-.]+(?=\D)|[-.]+$/g, "") || "empty";
}

/** Whether a name can be a run's: of letters, digits, `_`, `-` and `.`, and no other folder's. */
export function isRunName(name: string): boolean {
  return /^[\p{L}\p{N}_](?:[\p{L}\p{N}_.-]*[\p{L}\p{N}_-])?$/u.test(name) && nameProblem(name) === null;
}

function checkName({ name, place }: SweepRun): void {
  if (isRunName(name)) return;
  const problem = nameProblem(name) ?? "must be of letters, digits, _, - and ., and begin with a letter or digit";
  throw new UsageError(
    `${place}: the run's name ${JSON.stringify(name)} ${problem}; a [[run]] can be given a name of its own`,
  );
}

function checkDifferent(runs: readonly SweepRun[]): void {
  const names = new Map<string, SweepRun>(), settings = new Map<string, SweepRun>();
  for (const run of runs) {
    // Some file systems do not tell capitals.
    const name = run.name.toLowerCase(), same = names.get(name);
    if (same) throw new UsageError(`${run.place}: two runs are named ${run.name}; the other is at ${same.place}`);
    names.set(name, run);
    const values = [...run.values].map(([flag, { value }]) => [flag, value] as const);
    const text = JSON.stringify(values.toSorted(([a], [b]) => a < b ? -1 : 1)), twin = settings.get(text);
    if (twin) {
      throw new UsageError(
        `${run.place}: the runs ${twin.name} and ${run.name} have the same settings: take one of them out`,
      );
    }
    settings.set(text, run);
  }
}
