/**
 * The command line: `deno task train …`, `deno task new`, or `deno run -A tools/launch.ts cli/main.ts <command>`. Exit code 2 where the command has to
 * be changed; what a run ends with, `runRecipe` says.
 *
 * @module
 */
import { Command, CommanderError } from "@commander-js/extra-typings";
import project from "../deno.json" with { type: "json" };
import { completionScript, shells } from "./completion.ts";
import { exitCodes } from "./exit_codes.ts";
import { flagsByName } from "./flags/table.ts";
import { newCommand } from "./new/questions.ts";
import { argparseWords } from "./settings/argparse_words.ts";
import { rerunCommand } from "./rerun.ts";
import { makeTrainCommand } from "./settings/train_command.ts";
import { sweepCommand } from "./sweep/sweep_command.ts";
import { toolCommands } from "./tools/tool_commands.ts";
import { train } from "./train.ts";
import { UsageError } from "./usage_error.ts";

/**
 * Runs a command line.
 *
 * @throws {UsageError} If the user has to change it.
 * @throws {CommanderError} After commander has printed help or an error.
 */
export async function runCommandLine(args: readonly string[]): Promise<void> {
  const [name, ...rest] = args;
  const program = new Command("dualora").exitOverride().description(
    "Trains two LoRA networks for Stable Diffusion v1.5 so that they keep apart.",
  ).addHelpText("after", "\nTasks of their own: deno task demo, deno task compare, deno task dashboard.");
  const trainCommand = makeTrainCommand();
  trainCommand.action(() => train(trainCommand, rest));
  program.addCommand(trainCommand);
  program.addCommand(newCommand().copyInheritedSettings(program));
  program.addCommand(rerunCommand().copyInheritedSettings(program));
  for (const tool of [sweepCommand(), ...toolCommands()]) program.addCommand(tool.copyInheritedSettings(program));
  program.command("completion").argument("<shell>", shells.join(", ")).description(
    "print what a shell needs to complete commands and flags",
  ).action((shell) => {
    const commands = new Map(program.commands.map((each) => [each.name(), each.summary() || each.description()]));
    console.log(completionScript(shell, commands).trimEnd());
  });
  if (Object.hasOwn(project.tasks, name ?? "") && !program.commands.some((command) => command.name() === name)) {
    throw new UsageError(
      `${name} is no command of dualora, but a task of its own: deno task ${name} (--help says what it takes)`,
    );
  }
  const words = name === "train" ? [name, ...argparseWords(rest, flagsByName)] : args;
  await program.parseAsync([...words], { from: "user" });
}

if (import.meta.main) {
  try {
    await runCommandLine(Deno.args);
  } catch (error) {
    // Commander has printed its own; asking for help is no error.
    if (error instanceof CommanderError) Deno.exit(error.exitCode === 0 ? exitCodes.done : exitCodes.toChange);
    if (!(error instanceof UsageError)) throw error;
    console.error(error.message);
    Deno.exit(exitCodes.toChange);
  }
}
