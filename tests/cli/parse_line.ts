import { flagsByName } from "../../cli/flags/table.ts";
import { argparseWords } from "../../cli/settings/argparse_words.ts";
import { readSettings, type Settings } from "../../cli/settings/settings.ts";
import { makeTrainCommand, rawValues } from "../../cli/settings/train_command.ts";

/** Settings of a command line, as `train` reads them. */
export async function settingsOfLine(line: readonly string[]): Promise<Settings> {
  return await readSettings(parsedCommand(line));
}

/** Values that a command line gives, without defaults, settings file or refusals. */
export function givenOfLine(line: readonly string[]): Record<string, unknown> {
  const command = parsedCommand(line);
  return Object.fromEntries(
    Object.entries(rawValues(command)).filter(([name]) => command.getOptionValueSource(name) === "cli"),
  );
}

function parsedCommand(line: readonly string[]) {
  const command = makeTrainCommand();
  command.parse(argparseWords(line, flagsByName), { from: "user" });
  return command;
}
