import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { isRunning } from "../../pipeline/mod.ts";
import { lastFigures } from "../../steps/comparison/last_figures.ts";
import { figuresLogName, logOrder, readFiguresLog } from "../../steps/outputs/figures_log.ts";
import { readAttempts, type RunState, runState, secondsOf } from "./attempts.ts";
import { type ListedRun, readSweepFolder, runFolder } from "./sweep_folder.ts";

/** What is known of a run. */
export interface SweepRow {
  readonly name: string;
  readonly state: RunState;
  /** Exit code of the last start; null where it has none. */
  readonly code: number | null;
  /** What the run does not share with all others, by flag. */
  readonly own: Readonly<Record<string, unknown>>;
  /** Steps that the logs know of, of the training that each network was last in. */
  readonly steps: number | null;
  /** By the names that logs use: means over the last ten steps, and the last validation. */
  readonly figures: Readonly<Record<string, number>>;
  /** That it took, over all starts that have an end. */
  readonly seconds: number;
  readonly starts: number;
  readonly started: string | null;
  readonly ended: string | null;
}

/**
 * What the folders of a sweep's runs hold, in the sweep's order; runs that are at work or were stopped among them.
 *
 * @param folder The sweep's.
 * @throws {UsageError} If it is no sweep's folder.
 */
export async function gatherSweep(folder: string): Promise<SweepRow[]> {
  const rows: SweepRow[] = [];
  for (const run of await readSweepFolder(folder)) rows.push(await rowOf(folder, run));
  return rows;
}

async function rowOf(folder: string, { name, own }: ListedRun): Promise<SweepRow> {
  const path = runFolder(folder, name);
  // In this order: a run that ends in between counts as done, not as killed.
  const isAtWork = await isRunning(path), attempts = await readAttempts(path), last = attempts.at(-1);
  return {
    name,
    state: runState(attempts, isAtWork && last?.ended === undefined),
    code: last?.code ?? null,
    own,
    ...await loggedFigures(join(path, "logs")),
    seconds: secondsOf(attempts),
    starts: attempts.length,
    started: attempts[0]?.started ?? null,
    ended: last?.ended ?? null,
  };
}

/**
 * What logs say of a run. Each start of a training has a log of its own, with the steps before it; what network 2's training does not know of network 1 is in the log
 * of network 1's.
 */
async function loggedFigures(logs: string): Promise<Pick<SweepRow, "steps" | "figures">> {
  let steps: number | null = null, figures: Record<string, number> = {};
  for (const name of await logFolders(logs)) {
    const log = await readFiguresLog(join(logs, name, figuresLogName));
    if (log.length === 0) continue;
    steps = log.at(-1)!.step + 1;
    const validations = log.flatMap(({ values }) => Object.entries(values).filter(([key]) => isValidation(key)));
    const last = Object.entries(lastFigures(log)).filter(([key]) => !isValidation(key));
    figures = { ...figures, ...Object.fromEntries(last), ...Object.fromEntries(validations) };
  }
  return { steps, figures };
}

function isValidation(name: string): boolean {
  return name.startsWith("validation_");
}

/** Logs in the order in which they were begun. */
async function logFolders(logs: string): Promise<string[]> {
  const names = await readdir(logs).catch((error) => {
    if (error.code !== "ENOENT") throw error;
    return [];
  });
  const found = names.flatMap((name) => {
    const at = logOrder(name);
    return at === null ? [] : [{ name, at }];
  });
  return found.toSorted((a, b) => a.at < b.at ? -1 : 1).map(({ name }) => name);
}
