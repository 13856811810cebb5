import type { Command } from "@commander-js/extra-typings";
import type { Flag, FlagDefault } from "../flags/flag.ts";
import { type FlagName, flagsByName, type FlagValues } from "../flags/table.ts";
import { UsageError } from "../usage_error.ts";
import { readSettingsFile, type SettingsFile, settingsPath } from "./settings_file.ts";
import { makeTrainCommand, rawValues } from "./train_command.ts";

/** All settings of a run: command line before settings file before default. */
export interface Settings {
  readonly values: FlagValues;
  /** Flags that the command line or the settings file gives. */
  readonly given: ReadonlySet<FlagName>;
  /** Whether there are data for network 2; else one network is trained alone, with sd-scripts' defaults. */
  readonly isPair: boolean;
  /** What the user should know, in sentences. */
  readonly notes: readonly string[];
}

/** Flags that bring data for network 2. */
const secondData: readonly FlagName[] = ["train_data_dir_2", "in_json_2", "dataset_config_2"];

/**
 * Completes what a command line says with the settings file and the defaults.
 *
 * @param command A parsed `train`.
 * @throws {UsageError} If the settings file cannot be used.
 */
export async function readSettings(command: Command): Promise<Settings> {
  const { config_file: file, output_config: isWritten } = rawValues(command);
  if (isWritten && file === null) throw new UsageError("--output_config needs --config_file=<file>, which it writes");
  const isRead = typeof file === "string" && !isWritten;
  return completed(command, isRead ? await readSettingsFile(settingsPath(file), flagsByName) : noFile);
}

/** Without a settings file. */
const noFile: SettingsFile = { values: new Map(), notes: [] };

/** The settings that a file with these values makes, without a command line. */
export function settingsOf(values: SettingsFile["values"]): Settings {
  return completed(makeTrainCommand().parse([], { from: "user" }), { values, notes: [] });
}

function completed(command: Command, file: SettingsFile): Settings {
  for (const [name, value] of file.values) {
    if (command.getOptionValueSource(name) !== "cli") command.setOptionValueWithSource(name, value, "config");
  }
  const isGiven = (name: string) => command.getOptionValueSource(name) !== "default";
  const isPair = secondData.some((name) => isGiven(name) && rawValues(command)[name] !== "");
  for (const flag of flagsByName.values()) {
    if (!isGiven(flag.name)) command.setOptionValueWithSource(flag.name, defaultOf(flag, isPair), "default");
  }
  const given = new Set([...flagsByName.keys()].filter(isGiven) as FlagName[]);
  // The command has an option for each flag of the table, from which the type is made.
  const values = rawValues(command) as FlagValues;
  return { values, given, isPair, notes: file.notes };
}

/**
 * What the table says of the flags that are given.
 *
 * @returns Sentences about flags that mean something of their own here.
 * @throws {UsageError} If a flag is refused; one that only repeats its default asks for nothing.
 */
export function checkStatus(settings: Settings): string[] {
  const { values, given } = settings;
  const notes: string[] = [];
  for (const name of given) {
    const flag = flagsByName.get(name)!, { status } = flag;
    if (status === "works") continue;
    if ("refused" in status && !repeatsDefault(settings, name)) {
      throw new UsageError(`--${name} is refused: ${status.refused}`);
    }
    if ("means" in status && values[name] !== false) notes.push(`--${name} means here: ${status.means}`);
  }
  return notes;
}

/** Whether a flag stands at a default: this run's, or the original's. */
export function repeatsDefault({ values, isPair }: Settings, name: FlagName): boolean {
  const flag = flagsByName.get(name)!;
  return isSame(values[name], defaultOf(flag, isPair)) || isSame(values[name], flag.default);
}

/** A flag's default: the original's with two networks, sd-scripts' with one. */
export function defaultOf(flag: Flag, isPair: boolean): FlagDefault {
  return isPair || flag.alone === undefined ? flag.default : flag.alone;
}

/** The given values that differ from the defaults, for a settings file. */
export function changedValues({ values, given, isPair }: Settings): Record<string, unknown> {
  return Object.fromEntries(
    [...given].map((name) => [name, values[name]] as const).filter(([name, value]) =>
      value !== null && !isSame(value, defaultOf(flagsByName.get(name)!, isPair))
    ),
  );
}

function isSame(value: unknown, other: FlagDefault): boolean {
  return Object.is(value, other);
}
