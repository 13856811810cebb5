import { join } from "node:path";
import { textIfThere, writeTextFile } from "../../steps/outputs/text_file.ts";
import { exitCodes } from "../exit_codes.ts";

/** One start of a run. */
export interface Attempt {
  /** When, in UTC. */
  readonly started: string;
  readonly host: string;
  /** When it ended; absent while it is at work, and if it was killed together with what watches it. */
  readonly ended?: string;
  /** The exit code of `train`; above 128 where a signal ended it. */
  readonly code?: number;
}

/** How a run stands. */
export type RunState = "not begun" | "running" | "done" | "stopped" | "diverged" | "failed" | "killed";

/** All starts of a run, the last one last. */
export async function readAttempts(folder: string): Promise<Attempt[]> {
  const path = join(folder, "attempts.json"), text = await textIfThere(path);
  if (text === null) return [];
  try {
    const attempts = JSON.parse(text);
    if (Array.isArray(attempts) && attempts.every((each) => typeof each?.started === "string")) return attempts;
  } catch {
    // Told below, as any other content that is none of ours.
  }
  throw new SyntaxError(`Cannot read ${path}: it is no list of starts; delete it, and the run counts as not begun`);
}

/** Writes all starts of a run. */
export async function writeAttempts(folder: string, attempts: readonly Attempt[]): Promise<void> {
  await writeTextFile(join(folder, "attempts.json"), `${JSON.stringify(attempts, null, 2)}\n`);
}

/**
 * How a run stands, by its last start.
 *
 * @param isAtWork Whether something holds the run's lock.
 */
export function runState(attempts: readonly Attempt[], isAtWork: boolean): RunState {
  const last = attempts.at(-1);
  if (isAtWork) return "running";
  if (last === undefined) return "not begun";
  if (last.code === undefined || last.code > 128) return "killed";
  if (last.code === exitCodes.done) return "done";
  if (last.code === exitCodes.interrupted) return "stopped";
  return last.code === exitCodes.diverged ? "diverged" : "failed";
}

/** Seconds that a run took, over all starts that have an end. */
export function secondsOf(attempts: readonly Attempt[]): number {
  return attempts.reduce(
    (sum, { started, ended }) => sum + (ended === undefined ? 0 : (Date.parse(ended) - Date.parse(started)) / 1000),
    0,
  );
}
