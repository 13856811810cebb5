import { Command, InvalidArgumentError } from "@commander-js/extra-typings";
import { countIn } from "./whole_number.ts";

/**
 * The command of a program that is a task or a script: `--help` prints what it takes and ends the process with exit code 0; a word that it does not know is
 * told, with what there is, and ends it with 2, as everything that has to be changed on the command line.
 */
export function taskCommand(name: string, description: string): Command {
  return new Command(name).description(description).helpOption("-h, --help", "print this").showHelpAfterError()
    .exitOverride(({ exitCode }) => Deno.exit(exitCode === 0 ? 0 : 2));
}

/**
 * A whole number above 0, for an option of {@linkcode taskCommand}.
 *
 * @throws {InvalidArgumentError} If it is none; commander names the option.
 */
export function countOf(text: string): number {
  const count = countIn(text);
  if (count !== null) return count;
  throw new InvalidArgumentError("It must be a whole number above 0.");
}

/**
 * Seconds, for an option of {@linkcode taskCommand}: a number above 0.
 *
 * @throws {InvalidArgumentError} If it is none; commander names the option.
 */
export function secondsOf(text: string): number {
  const seconds = Number(text);
  if (seconds > 0 && seconds < Infinity) return seconds;
  throw new InvalidArgumentError("It must be a number above 0.");
}
