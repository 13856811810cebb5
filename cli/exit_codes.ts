import { InterruptedError } from "../pipeline/mod.ts";
import { DeviceLostError } from "../steps/values/bases.ts";
import { DivergedError } from "../steps/values/training_loop.ts";

/** Exit codes of commands and scripts. 4: `rerun` made other outputs. 75 is what batch schedulers take for: run it again. */
export const exitCodes = { done: 0, fault: 1, toChange: 2, diverged: 3, differs: 4, interrupted: 75 } as const;

/**
 * What a process leaves with after an error of a recipe or a command: 3 if training diverged; 75 if it was stopped or lost its device, and the same run goes
 * on; 1 for a fault of the program; 2 for all else, where the machine, the command or what it names has to be changed first.
 */
export function exitCodeOf(error: Error): number {
  if (error instanceof DivergedError) return exitCodes.diverged;
  if (error instanceof InterruptedError || error instanceof DeviceLostError) return exitCodes.interrupted;
  return isFault(error) ? exitCodes.fault : exitCodes.toChange;
}

/** JavaScript's own sentences that have a colon, such as `Invalid typed array length: -1`. */
const ownWithColon = /^Invalid [\w ]+: \S+$/;

/**
 * Whether JavaScript itself threw it. What is thrown on purpose says `Cannot do something: why`; of JavaScript's own sentences few have a colon. Where there is no
 * memory for an array the machine is too small.
 */
export function isFault(error: Error): boolean {
  const { message } = error;
  if (error instanceof ReferenceError) return true;
  if (!(error instanceof TypeError || error instanceof RangeError)) return false;
  return message !== "Array buffer allocation failed" && (!/: /.test(message) || ownWithColon.test(message));
}
