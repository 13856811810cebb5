import type { StepFigures } from "../../training/trainer.ts";
import type { StateFacts } from "./state_facts.ts";
import type { OwedWork, TrainingContent } from "./training_output.ts";

/** The format that states say they have. */
export const stateFormat = "dualora-training-state-1";

/** What lies in a state's folder beside its tensors and its log. */
export interface StateManifest {
  readonly format: typeof stateFormat;
  readonly step: number;
  readonly skipped: TrainingContent["state"]["skipped"];
  readonly facts: StateFacts;
  /** Hash of the manifest of the state that the training was started from; left out where there was none. */
  readonly from?: string | undefined;
  readonly owed: readonly OwedWork[];
  /** Names of the optimizers' tensors, network by network. */
  readonly optimizers: readonly (readonly string[])[];
  /** SHA-256 by name. */
  readonly files: Readonly<Record<string, string>>;
}

/**
 * What is wrong with a manifest as it was read, as the end of a sentence; null if nothing is.
 *
 * @param files Names of the files that it has to have the hashes of, and of no others.
 */
export function manifestProblem(manifest: unknown, files: readonly string[]): string | null {
  if (!isRecord(manifest) || manifest.format !== stateFormat) {
    const format = isRecord(manifest) ? manifest.format : undefined;
    return `says its format is ${JSON.stringify(format)}, must be ${stateFormat}`;
  }
  const { step, skipped, facts, from, owed = [], optimizers } = manifest, hashes = manifest.files;
  const members: Readonly<Record<string, boolean>> = {
    step: isCount(step),
    skipped: isRecord(skipped) && isCount(skipped.total) && isCount(skipped.inRow),
    facts: isRecord(facts) && isRecord(facts.settings) && isListOf(facts.networks, isRecord),
    from: from === undefined || typeof from === "string",
    owed: Array.isArray(owed),
    optimizers: isListOf(optimizers, (names) => isListOf(names, (name) => typeof name === "string")),
    files: isRecord(hashes) && Object.values(hashes).every((hash) => typeof hash === "string") &&
      Object.keys(hashes).sort().join() === [...files].sort().join(),
  };
  const wrong = Object.keys(members).find((name) => !members[name]);
  return wrong === undefined ? null : `is damaged: its ${wrong} is not what was written`;
}

/** Whether what was read is the figures of steps. */
export function isLog(log: unknown): log is StepFigures[] {
  return isListOf(
    log,
    (entry) => isRecord(entry) && isCount(entry.step) && isCount(entry.epoch) && isRecord(entry.values),
  );
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isListOf(value: unknown, isOne: (each: unknown) => boolean): boolean {
  return Array.isArray(value) && value.every(isOne);
}

function isCount(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}
