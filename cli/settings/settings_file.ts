import { stringify, type TomlTable } from "smol-toml";
import { nearestName } from "../../steps/values/nearest_name.ts";
import { commandFlags } from "../flags/command.ts";
import type { Flag } from "../flags/flag.ts";
import { UsageError } from "../usage_error.ts";
import { writeForUser } from "../write_for_user.ts";
import { isTable, readTomlFile } from "./read_toml.ts";
import { readTomlValue } from "./read_value.ts";

/** Flags that say what to do with settings cannot be in a file. */
const notInFiles: readonly string[] = commandFlags.flags.map(({ name }) => name);

/** What a settings file says. */
export interface SettingsFile {
  /** Values by the flags' names. */
  readonly values: ReadonlyMap<string, unknown>;
  /** What the reader should know, in sentences. */
  readonly notes: readonly string[];
}

/** `name` as `--config_file` has it: with `.toml` at the end, if it is not there already. */
export function settingsPath(name: string): string {
  return name.endsWith(".toml") ? name : `${name}.toml`;
}

/**
 * Reads a settings file: TOML with flags' names as keys, at the top or in tables, whose names mean nothing.
 *
 * @throws {UsageError} If the file is not there, is no TOML, or has a key that is no flag or a value that the flag cannot have.
 */
export async function readSettingsFile(path: string, flags: ReadonlyMap<string, Flag>): Promise<SettingsFile> {
  const values = new Map<string, unknown>(), places = new Map<string, string>(), notes: string[] = [];
  const take = (key: string, value: unknown, place: string) => {
    const flag = flagOfKey(key, place, flags);
    const before = places.get(flag.name);
    if (before !== undefined) notes.push(`${key} is in ${before} and again in ${place}, which counts`);
    values.set(flag.name, readTomlValue(flag, value, `${place}: ${key}`));
    places.set(flag.name, place);
  };
  for (const [key, value] of Object.entries((await readTomlFile(path, "settings")).table)) {
    if (!isTable(value)) {
      take(key, value, path);
      continue;
    }
    for (const [inner, each] of Object.entries(value)) {
      const place = `${path} [${key}]`;
      if (isTable(each)) {
        throw new UsageError(`${path} [${key}.${inner}]: tables in tables are not read; move its keys into [${key}]`);
      }
      take(inner, each, place);
    }
  }
  return { values, notes };
}

/**
 * The flag that a key of a file stands for.
 *
 * @param place Where the key stands, for errors.
 * @throws {UsageError} If there is none of that name, or it cannot be in a file.
 */
export function flagOfKey(key: string, place: string, flags: ReadonlyMap<string, Flag>): Flag {
  const flag = flags.get(key) ?? [...flags.values()].find(({ alias }) => alias === key);
  if (!flag) {
    throw new UsageError(`${place}: unknown key ${key}; did you mean ${nearestName(key, [...flags.keys()])}?`);
  }
  if (notInFiles.includes(flag.name)) {
    throw new UsageError(`${place}: ${key} is for the command line, not for a settings file`);
  }
  return flag;
}

/**
 * Writes the values that differ from the defaults.
 *
 * @throws {UsageError} If there is a file already, or it cannot be written.
 */
export async function writeSettingsFile(path: string, values: Readonly<Record<string, unknown>>): Promise<void> {
  const written = Object.entries(values).filter(([name]) => !notInFiles.includes(name));
  await writeForUser(path, "settings", stringify(Object.fromEntries(written) as TomlTable));
}
