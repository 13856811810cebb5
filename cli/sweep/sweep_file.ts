import type { TomlTable } from "smol-toml";
import { tomlLines } from "../../steps/dataset_config/toml_lines.ts";
import { isPath } from "../../steps/values/file_name.ts";
import { nearestName } from "../../steps/values/nearest_name.ts";
import { flagsByName } from "../flags/table.ts";
import { seedList } from "../seed_list.ts";
import { isTable, readTomlFile } from "../settings/read_toml.ts";
import { readTomlValue } from "../settings/read_value.ts";
import { flagOfKey, readSettingsFile, settingsPath } from "../settings/settings_file.ts";
import { UsageError } from "../usage_error.ts";
import { readSlurm, type SlurmOptions } from "./slurm_options.ts";

/** A flag's value, and where it was written: `sweep.toml, line 7`. */
export interface PlacedValue {
  readonly value: unknown;
  readonly place: string;
}

/** Values by the flags' names. */
export type PlacedValues = ReadonlyMap<string, PlacedValue>;

/** A run of `[[run]]`. */
export interface NamedRun {
  readonly name: string;
  readonly values: PlacedValues;
  /** Where its table begins. */
  readonly place: string;
}

/** What a file says of a sweep; every value is one that its flag can have. */
export interface SweepFile {
  readonly path: string;
  /** Folder of the sweep. */
  readonly folder: string;
  /** What all runs share: `config_file`, then `[settings]`. */
  readonly settings: PlacedValues;
  /** Values of each flag of `[grid]`, in the file's order. */
  readonly grid: ReadonlyMap<string, readonly PlacedValue[]>;
  readonly seeds: readonly PlacedValue[];
  readonly runs: readonly NamedRun[];
  readonly slurm: SlurmOptions;
  /** What the reader should know, in sentences. */
  readonly notes: readonly string[];
}

const topKeys = ["output_dir", "config_file", "seeds", "settings", "grid", "run", "slurm"];

/** Each run has folders of its own. */
const givenBySweep = ["output_dir", "logging_dir", "logging_dir_2"];

/**
 * Reads a sweep: `output_dir`, `config_file`, `seeds`, `[settings]`, `[grid]`, `[[run]]` and `[slurm]`; see docs/sweeps.md.
 *
 * @param folder Takes the place of the file's `output_dir`.
 * @throws {UsageError} With file and line, if a key is unknown or a value is none that its flag can have.
 */
export async function readSweepFile(path: string, folder?: string): Promise<SweepFile> {
  const { text, table } = await readTomlFile(path, "a sweep"), lineOf = tomlLines(text);
  const placeOf = (...keys: (string | number)[]) => `${path}, line ${lineOf(keys)}`;
  for (const key of Object.keys(table)) {
    if (topKeys.includes(key)) continue;
    const hint = flagsByName.has(key)
      ? "flags for all runs stand in [settings]"
      : `did you mean ${nearestName(key, topKeys)}?`;
    throw new UsageError(`${placeOf(key)}: unknown key ${key}; ${hint}`);
  }
  const shared = await settingsOfFile(table, placeOf("config_file"));
  const settings = valuesOf(tableOf(table, "settings", placeOf), (key) => placeOf("settings", key));
  const grid = Object.entries(tableOf(table, "grid", placeOf)).map(([key, values]) => {
    const place = placeOf("grid", key);
    if (!Array.isArray(values) || values.length === 0) {
      throw new UsageError(`${place}: ${key} is ${JSON.stringify(values)}, must be a list of the values to try`);
    }
    const placed = values.map((value) => [...valuesOf({ [key]: value }, () => place)][0]);
    return [placed[0][0], placed.map(([, value]) => value)] as const;
  });
  const seeds = seedsOf(table.seeds, placeOf("seeds"));
  if (seeds.length > 0 && grid.some(([name]) => name === "seed")) {
    throw new UsageError(`${placeOf("grid", "seed")}: seed is in [grid], and seeds are given: leave one of them out`);
  }
  return {
    path,
    folder: folderOf(folder ?? table.output_dir, folder === undefined ? placeOf("output_dir") : "--output_dir"),
    settings: new Map([...shared.values, ...settings]),
    grid: distinct(grid, ([{ place }]) => place),
    seeds,
    runs: runsOf(table.run, placeOf),
    slurm: readSlurm(tableOf(table, "slurm", placeOf), (key) => placeOf("slurm", key)),
    notes: shared.notes,
  };
}

type PlaceOf = (...keys: (string | number)[]) => string;

function folderOf(value: unknown, place: string): string {
  if (value === undefined) {
    throw new UsageError(`${place}: output_dir is missing: the folder that the sweep's runs are written to`);
  }
  if (!isPath(value)) throw new UsageError(`${place}: output_dir is ${JSON.stringify(value)}, must be a path`);
  return value;
}

function tableOf(table: TomlTable, key: string, placeOf: PlaceOf): TomlTable {
  const found = table[key] ?? {};
  if (!isTable(found)) throw new UsageError(`${placeOf(key)}: ${key} must be a table: [${key}]`);
  return found;
}

function valuesOf(table: TomlTable, placeOf: (key: string) => string): Map<string, PlacedValue> {
  return distinct(
    Object.entries(table).map(([key, value]) => {
      const place = placeOf(key), flag = flagOfKey(key, place, flagsByName);
      if (givenBySweep.includes(flag.name)) {
        throw new UsageError(`${place}: ${key} cannot be chosen here: each run has a folder of its own in the sweep's`);
      }
      return [flag.name, { value: readTomlValue(flag, value, `${place}: ${key}`), place }] as const;
    }),
    ({ place }) => place,
  );
}

/** Flags have other spellings: one that is there twice could be either. */
function distinct<Value>(entries: readonly (readonly [string, Value])[], placeOf: (value: Value) => string) {
  const found = new Map<string, Value>();
  for (const [flag, value] of entries) {
    if (found.has(flag)) throw new UsageError(`${placeOf(value)}: ${flag} is there already: leave one of them out`);
    found.set(flag, value);
  }
  return found;
}

/** What the settings file says that the sweep starts from; folders of its own are for runs without a sweep. */
async function settingsOfFile(
  { config_file: name }: TomlTable,
  place: string,
): Promise<{ values: Map<string, PlacedValue>; notes: readonly string[] }> {
  if (name === undefined) return { values: new Map(), notes: [] };
  if (!isPath(name)) throw new UsageError(`${place}: config_file is ${JSON.stringify(name)}, must be a path`);
  const path = settingsPath(name), { values, notes } = await readSettingsFile(path, flagsByName);
  const dropped = givenBySweep.filter((flag) => values.has(flag));
  return {
    values: new Map(
      [...values].filter(([flag]) => !dropped.includes(flag)).map(([flag, value]) => [flag, {
        value,
        place: path,
      }]),
    ),
    notes: [
      ...notes,
      ...dropped.map((flag) => `${flag} of ${path} is not used: each run has a folder of its own in the sweep's`),
    ],
  };
}

function seedsOf(value: unknown, place: string): PlacedValue[] {
  if (value === undefined) return [];
  const seeds = typeof value === "string" ? seedList(value, `${place}: seeds`) : value;
  if (Array.isArray(seeds) && seeds.length > 0) {
    return seeds.map((seed) => ({ value: readTomlValue(flagsByName.get("seed")!, seed, `${place}: seeds`), place }));
  }
  throw new UsageError(
    `${place}: seeds is ${JSON.stringify(value)}, must be a list of whole numbers, or a text such as "1-5"`,
  );
}

function runsOf(value: unknown, placeOf: PlaceOf): NamedRun[] {
  if (value === undefined) return [];
  if (!Array.isArray(value) || !value.every(isTable)) {
    throw new UsageError(`${placeOf("run")}: run must be a list of tables: [[run]]`);
  }
  return value.map(({ name, ...table }, at) => {
    const place = placeOf("run", at);
    if (typeof name !== "string") throw new UsageError(`${place}: a [[run]] needs a name, a text`);
    return { name, place, values: valuesOf(table, (key) => placeOf("run", at, key)) };
  });
}
