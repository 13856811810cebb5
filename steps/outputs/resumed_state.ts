import { existsSync } from "node:fs";
import { type EarlierStart, hashFile } from "../../pipeline/mod.ts";
import { makeUpdater } from "../../training/network_settings.ts";
import type { TrainerNetwork, TrainerState } from "../../training/trainer.ts";
import { hashStarts } from "../values/network_start.ts";
import type { NetworkStartOptions } from "../values/network.ts";
import type { TrainingOptions } from "../values/training_options.ts";
import { compareState, type StateFacts } from "./state_facts.ts";
import { readState, readStateMark, type SavedState, StateError, suggestingAnother } from "./state_folder.ts";

/** What of a training's options says where it starts. */
type ResumeOptions = Pick<TrainingOptions, "resume">;

/**
 * The hash by which a step knows the state that it is started from.
 *
 * What a step has read once it needs no more, and its own training may replace or remove the state, by a name or a number of states to keep: the same
 * start is known again by the hash that it had first. A state that somebody else has put in its place is another one.
 *
 * @param before The hash at an earlier start from the same folder, of which work or a product is there; undefined if there is none.
 * @throws {StateError} If the state is not there, or is none, and there is no earlier start.
 */
export async function startingHash(folder: string, before: string | undefined): Promise<string> {
  if (before === undefined) return (await suggestingAnother(folder, () => readStateMark(folder))).hash;
  try {
    const { hash, from } = await readStateMark(folder);
    return from === before ? before : hash;
  } catch (error) {
    if (error instanceof StateError) return before;
    throw error;
  }
}

/** The hash of the state that a training was started from before, where it was the same folder. */
function hashBefore({ resume }: ResumeOptions, earlier: EarlierStart | undefined): string | undefined {
  if (earlier === undefined || (earlier.options as ResumeOptions).resume !== resume) return undefined;
  const hash = (earlier.fingerprint as unknown[] | null)?.at(-1);
  return typeof hash === "string" ? hash : undefined;
}

/** What a training step's product depends on beside its options: the files that its networks and itself start from. */
export async function trainingFingerprint(
  options: ResumeOptions & Pick<TrainingOptions, "samples">,
  earlier: EarlierStart | undefined,
  ...starts: readonly NetworkStartOptions[]
): Promise<string[]> {
  const { resume, samples } = options;
  // Which pictures are made decides nothing of the networks, so it is no part of what is returned; hashed, the file is an input in the run's record. The
  // plan says what is wrong where it is missing.
  if (samples && existsSync(samples.prompts)) await hashFile(samples.prompts);
  const hashes = await hashStarts(...starts);
  return resume === undefined ? hashes : [...hashes, await startingHash(resume, hashBefore(options, earlier))];
}

/** Whether a training has to read the state that it is to go on from (`--resume`): one that has begun has checkpoints or a product of its own. */
export async function needsState(options: ResumeOptions, earlier: EarlierStart | undefined): Promise<boolean> {
  const before = hashBefore(options, earlier), { resume } = options;
  return resume !== undefined && (before === undefined || await startingHash(resume, before) !== before);
}

/**
 * Refuses a state whose tensors are not the training's, before anything is loaded: other arguments of an optimizer may want other ones.
 *
 * @throws {StateError} Naming the tensor, and what was wanted.
 */
function checkTensors(folder: string, { networks }: TrainerState, sides: readonly ResumedSide[]): void {
  for (const [k, { number, lora, settings }] of sides.entries()) {
    const check = (name: string, found: number, wanted: number) => {
      if (found === wanted) return;
      const advice = name === "weights"
        ? "it is of another network"
        : "take the optimizer's arguments that it was made with";
      throw new StateError(
        folder,
        `of network ${number}'s ${name} it has ${found} numbers, this training ${wanted}; ${advice}`,
      );
    };
    const { weights, optimizer } = networks[k];
    check("weights", weights.length, lora.sizeElements);
    // Empty where the network has not trained yet.
    if (Object.keys(optimizer).length === 0) continue;
    for (const [name, { shape }] of Object.entries(makeUpdater(lora, settings).optimizer.state)) {
      check(`optimizer.${name}`, optimizer[name]?.length ?? 0, shape.reduce((count, size) => count * size, 1));
    }
  }
}

/** A network that is to go on. */
type ResumedSide = Pick<TrainerNetwork, "number" | "lora" | "settings">;

/**
 * The state that a training goes on from (`--resume`), checked against it; null where none is named.
 *
 * @param sides In the order of the facts.
 * @throws {StateError} If it is damaged, or of other networks, another base model, rank, shape or optimizer.
 */
export async function readResumed(
  { resume }: ResumeOptions,
  facts: StateFacts,
  sides: readonly ResumedSide[],
  totalSteps: number,
  warn: (message: string) => void,
): Promise<SavedState | null> {
  if (resume === undefined) return null;
  const found = await suggestingAnother(resume, () => readState(resume)), { step } = found.content.state;
  compareState(resume, found.facts, facts).forEach(warn);
  checkTensors(resume, found.content.state, sides);
  if (step >= totalSteps) {
    throw new RangeError(
      `Cannot go on from the state ${resume}: it has done ${step} steps, and this training has ${totalSteps}; ask for ` +
        "more steps or epochs",
    );
  }
  return { ...found, facts, from: (await readStateMark(resume)).hash };
}
