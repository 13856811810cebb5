import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { stringify, type TomlTable } from "smol-toml";
import { textIfThere, writeTextFile } from "../../steps/outputs/text_file.ts";
import { UsageError } from "../usage_error.ts";
import { isRunName, type SweepRun } from "./expand_sweep.ts";

/** A run, as the sweep's folder lists it. */
export interface ListedRun {
  readonly name: string;
  /** What the run does not share with all others, by flag. */
  readonly own: Readonly<Record<string, unknown>>;
}

const format = "dualora-sweep-1";

/** A run's folder in the sweep's. */
export function runFolder(folder: string, name: string): string {
  return join(folder, "runs", name);
}

/** A run's settings file. */
export function runSettings(folder: string, name: string): string {
  return join(runFolder(folder, name), "settings.toml");
}

/** A run's settings as a file for `train --config_file`: what is given, and folders of its own. */
export function settingsText(folder: string, { name, values }: SweepRun): string {
  const own = runFolder(folder, name);
  const given = [...values].map(([flag, { value }]) => [flag, value] as const);
  return stringify(
    Object.fromEntries([...given, ["output_dir", own], ["logging_dir", join(own, "logs")]]) as TomlTable,
  );
}

/**
 * Writes each run's settings into its folder, and the list of runs.
 *
 * @throws {UsageError} If a run was begun with other settings.
 */
export async function writeSweepFolder(folder: string, runs: readonly SweepRun[]): Promise<void> {
  for (const run of runs) {
    const path = runSettings(folder, run.name), text = settingsText(folder, run), before = await textIfThere(path);
    if (before === text) continue;
    if (before !== null) {
      throw new UsageError(
        `Cannot write ${path}: the run was made with other settings; take another output_dir, or delete the run's folder`,
      );
    }
    await mkdir(runFolder(folder, run.name), { recursive: true });
    await writeTextFile(path, text);
  }
  const list = runs.map(({ name, own }): ListedRun => ({ name, own }));
  await writeTextFile(join(folder, "sweep.json"), `${JSON.stringify({ format, runs: list }, null, 2)}\n`);
}

/**
 * The runs that a sweep's folder lists.
 *
 * @throws {UsageError} If it is no sweep's folder, or its list cannot be read.
 */
export async function readSweepFolder(folder: string): Promise<ListedRun[]> {
  const path = join(folder, "sweep.json"), text = await textIfThere(path);
  if (text === null) {
    throw new UsageError(`Cannot read the sweep in ${folder}: it has no sweep.json, which dualora sweep writes`);
  }
  const refuse = (problem: string) => {
    throw new UsageError(`Cannot read ${path}: ${problem}; run dualora sweep again, which writes it anew`);
  };
  let list: { format?: unknown; runs?: unknown };
  try {
    list = Object(JSON.parse(text));
  } catch {
    return refuse("it is no JSON");
  }
  if (list.format !== format || !Array.isArray(list.runs)) return refuse(`it is no list of the format ${format}`);
  return list.runs.map((run): ListedRun => {
    if (typeof run?.name !== "string" || !isRunName(run.name)) {
      return refuse("a run has no name that a folder can have");
    }
    return { name: run.name, own: Object(run.own) };
  });
}
