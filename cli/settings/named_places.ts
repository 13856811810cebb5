import { dirname } from "node:path";
import { CommanderError } from "@commander-js/extra-typings";
import { flagsByName } from "../flags/table.ts";
import { UsageError } from "../usage_error.ts";
import { argparseWords } from "./argparse_words.ts";
import { readSettings } from "./settings.ts";
import { settingsPath } from "./settings_file.ts";
import { makeTrainCommand } from "./train_command.ts";

/** What a command line of `train` names, its settings file included. */
export interface NamedPlaces {
  /** Models that are asked for: paths, or names on the hub. */
  readonly models: readonly string[];
  /** Folders that files are written to. */
  readonly written: readonly string[];
}

/**
 * Models and folders that a command line of `train` names.
 *
 * @param args What stands behind `train`.
 * @returns None where the line cannot be read; whoever runs it says why.
 */
export async function namedPlaces(args: readonly string[]): Promise<NamedPlaces> {
  try {
    const words = argparseWords(args, flagsByName);
    if (words.includes("--help")) return { models: [], written: [] };
    const command = makeTrainCommand();
    // The program itself says what is wrong.
    command.configureOutput({ writeErr: () => {} });
    command.parse(words, { from: "user" });
    const { pretrained_model_name_or_path: one, pretrained_model_name_or_path_2: two, vae, ...values } =
      (await readSettings(command)).values;
    const { output_dir, logging_dir, logging_dir_2, output_config, config_file } = values;
    const settings = output_config && config_file ? dirname(settingsPath(config_file)) : null;
    // What is no path is refused by the program itself.
    const named = (name: string | null) => name !== null && name !== "" && !name.includes("\0");
    return {
      models: [one, two, vae].filter(named) as string[],
      written: [output_dir, logging_dir, logging_dir_2, settings].filter(named) as string[],
    };
  } catch (error) {
    if (error instanceof UsageError || error instanceof CommanderError) return { models: [], written: [] };
    throw error;
  }
}
