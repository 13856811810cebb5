import { flagsByName } from "../flags/table.ts";
import { UsageError } from "../usage_error.ts";
import { argparseWords } from "./argparse_words.ts";
import { readSettings } from "./settings.ts";
import { makeTrainCommand } from "./train_command.ts";

/**
 * Models that a command line of `train` asks for, its settings file included.
 *
 * @param args What stands behind `train`.
 * @returns None where the line cannot be read; whoever runs it says why.
 */
export async function modelNames(args: readonly string[]): Promise<string[]> {
  try {
    const words = argparseWords(args, flagsByName);
    if (words.includes("--help")) return [];
    const command = makeTrainCommand();
    command.parse(words, { from: "user" });
    const { pretrained_model_name_or_path: one, pretrained_model_name_or_path_2: two, vae } =
      (await readSettings(command)).values;
    return [one, two, vae].filter((name) => name !== null);
  } catch (error) {
    if (error instanceof UsageError) return [];
    throw error;
  }
}
