import type { TomlTable } from "smol-toml";
import { UsageError } from "../usage_error.ts";

/** What `[slurm]` says. */
export interface SlurmOptions {
  /** Options of sbatch by their long names, such as `cpus-per-task`; true for one without a value. */
  readonly options: ReadonlyMap<string, string | number | true>;
  /** How many runs are at work at a time; all when left out. */
  readonly limit?: number;
  /** Lines of shell before a run, such as `module load …`. */
  readonly setup: readonly string[];
  /** How often Slurm starts a run anew before it stays where it is. */
  readonly restarts: number;
}

/** Options that the script gives itself. */
const givenByScript = ["array", "chdir", "no-requeue", "open-mode", "output", "requeue", "signal", "wrap"];

const defaultRestarts = 100;

/**
 * Reads `[slurm]`. Its keys are options of sbatch, which itself refuses those that it does not know; `limit`, `setup` and `restarts` are the sweep's own.
 *
 * @throws {UsageError} With file and line, if a value cannot stand in a batch script, or an option is one that the script needs itself.
 */
export function readSlurm(table: TomlTable, placeOf: (key: string) => string): SlurmOptions {
  const { limit, setup = [], restarts = defaultRestarts, ...others } = table;
  const refuse = (key: string, wanted: string) => {
    throw new UsageError(`${placeOf(key)}: ${key} is ${JSON.stringify(table[key])}, must be ${wanted}`);
  };
  const isCount = (value: unknown, least: number): value is number =>
    typeof value === "number" && Number.isInteger(value) && value >= least;
  if (limit !== undefined && !isCount(limit, 1)) return refuse("limit", "a whole number above 0");
  if (!isCount(restarts, 0)) return refuse("restarts", "a whole number from 0 on");
  if (!Array.isArray(setup) || !setup.every((line) => typeof line === "string")) {
    return refuse("setup", "a list of lines of shell");
  }
  const options = new Map<string, string | number | true>();
  for (const [key, value] of Object.entries(others)) {
    const name = key.replaceAll("_", "-");
    if (!/^[a-z][a-z0-9-]*$/.test(name)) {
      throw new UsageError(`${placeOf(key)}: ${JSON.stringify(key)} is no long option of sbatch`);
    }
    if (givenByScript.includes(name)) throw new UsageError(`${placeOf(key)}: the batch script gives --${name} itself`);
    if (value === false) continue;
    const isText = typeof value === "string" && /^[^\n\r"\\\0]+$/.test(value);
    if (value !== true && typeof value !== "number" && !isText) {
      return refuse(key, "a number, true, or a text on one line without quotes and \\");
    }
    options.set(name, value);
  }
  return { options, setup, restarts, ...(limit === undefined ? {} : { limit }) };
}
