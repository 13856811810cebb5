import { hostname } from "node:os";
import { lockFolder } from "../../pipeline/mod.ts";
import { textIfThere } from "../../steps/outputs/text_file.ts";
import { exitCodes } from "../exit_codes.ts";
import { runProgram } from "../forward_signals.ts";
import { launcherArgs, programFile } from "../launcher_args.ts";
import { UsageError } from "../usage_error.ts";
import { type Attempt, readAttempts, runState, writeAttempts } from "./attempts.ts";
import { runFolder, runSettings } from "./sweep_folder.ts";

/** Words that start this program's command line in a process of its own, with the fewest permissions, from any folder. */
export function commandWords(...args: readonly string[]): string[] {
  return [Deno.execPath(), ...launcherArgs(programFile("cli/main.ts"), args)];
}

/**
 * Runs a run of a sweep to its end, or until it is stopped, in a process of its own; a run that is done is left as it is. Signals are handed on to it.
 *
 * @param folder The sweep's.
 * @returns The exit code of `train`.
 * @throws {UsageError} If there is no such run.
 * @throws {InputError} If the run is at work elsewhere.
 */
export async function runOne(folder: string, name: string): Promise<number> {
  const own = runFolder(folder, name), settings = runSettings(folder, name);
  if (await textIfThere(settings) === null) {
    throw new UsageError(`Cannot run ${name} of the sweep in ${folder}: there is no ${settings}`);
  }
  using _lock = await lockFolder(own);
  const before = await readAttempts(own);
  if (runState(before, false) === "done") return exitCodes.done;
  const attempt: Attempt = { started: new Date().toISOString(), host: hostname() };
  await writeAttempts(own, [...before, attempt]);
  const [deno, ...args] = commandWords("train", `--config_file=${settings}`);
  const code = await runProgram(deno, { args });
  await writeAttempts(own, [...before, { ...attempt, ended: new Date().toISOString(), code }]);
  return code;
}
