import { lockFolder } from "../../pipeline/mod.ts";
import { exitCodeOf, exitCodes } from "../exit_codes.ts";
import { hangsOnTerminal, stopSignals } from "../stop_signals.ts";
import { runOne } from "./run_one.ts";

/**
 * Runs all runs of a sweep in order on this machine. One that fails does not keep the others from their turn; a signal that stops ends the loop behind the run at
 * work, which is told as well.
 *
 * @param folder The sweep's.
 * @param names Runs that are not done.
 * @returns 0 if all are done; 75 if some go on with the same command; otherwise the code of the first that failed.
 * @throws {InputError} If the sweep is run by another process on this machine.
 */
export async function runAll(folder: string, names: readonly string[]): Promise<number> {
  using _lock = await lockFolder(folder);
  let isStopped = false;
  const stop = () => {
    isStopped = true;
  };
  const codes: number[] = [];
  // A terminal that is closed ends the run at work, and so it does the loop.
  const signals = hangsOnTerminal() ? [...stopSignals, "SIGHUP" as const] : stopSignals;
  for (const signal of signals) Deno.addSignalListener(signal, stop);
  for (const [at, name] of names.entries()) {
    if (isStopped) break;
    console.log(`run ${at + 1} of ${names.length}: ${name}`);
    const code = await codeOf(folder, name);
    codes.push(code);
    console.log(`run ${at + 1} of ${names.length}: ${name} ${endText(code)}`);
  }
  for (const signal of signals) Deno.removeSignalListener(signal, stop);
  if (isStopped || codes.includes(exitCodes.interrupted)) return exitCodes.interrupted;
  return codes.find((code) => code !== exitCodes.done) ?? exitCodes.done;
}

/** What cannot be begun, such as a run that is at work elsewhere, is no reason to leave out the others. */
async function codeOf(folder: string, name: string): Promise<number> {
  try {
    return await runOne(folder, name);
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    console.error(error.message);
    return exitCodeOf(error);
  }
}

function endText(code: number): string {
  if (code === exitCodes.done) return "is done";
  if (code === exitCodes.interrupted) return "was stopped, and goes on when the sweep is run again";
  return `failed with exit code ${code}${code === exitCodes.diverged ? ": training diverged" : ""}`;
}
