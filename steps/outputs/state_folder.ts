import { readdir, stat } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { isThere, readPlainText, SpecialFileError } from "../../formats/plain_file.ts";
import { writeFileAtomically } from "../../formats/atomic_file.ts";
import { removeAtomically, removeLeftovers, writeFolderAtomically } from "../../formats/atomic_folder.ts";
import { SafetensorsFile, writeSafetensors } from "../../formats/safetensors.ts";
import { TensorFileError } from "../../formats/tensor_file.ts";
import { hashFile, InputError } from "../../pipeline/mod.ts";
import type { StateArray, StepFigures } from "../../training/trainer.ts";
import type { StateFacts } from "./state_facts.ts";
import { isLog, manifestProblem, stateFormat, type StateManifest } from "./state_manifest.ts";
import type { OwedWork, TrainingContent } from "./training_output.ts";

/** A state as it is read back. */
export interface SavedState {
  readonly content: TrainingContent;
  readonly facts: StateFacts;
  /** Hash of the state that the training was started from (`resume`); nothing where it was started from none. */
  readonly from?: string | undefined;
  /** What the last step's end still asks for, where the run was stopped in the middle of that; nothing when left out. */
  readonly owed?: readonly OwedWork[];
}

const [tensorsName, logName, manifestName] = ["state.safetensors", "log.json", "manifest.json"];

/** A state that is damaged or cannot be gone on from. */
export class StateError extends InputError {
  override name = "StateError";
  constructor(folder: string, readonly problem: string, options?: ErrorOptions) {
    super(`Cannot go on from the state ${folder}: ${problem}`, options);
  }
}

/** A state whose files are not as they were written. */
class DamagedStateError extends StateError {}

/**
 * Writes all that a training needs to go on into a folder of its own: `state.safetensors` with weights and optimizers, `log.json` with every step's
 * figures, `manifest.json` with what it belongs to and the hashes of both. The path holds the whole state or none.
 *
 * @throws {RangeError} If a number is NaN or infinite.
 */
export async function writeState(folder: string, { content, facts, from, owed = [] }: SavedState): Promise<void> {
  const { state: { step, skipped, networks }, log } = content;
  for (const { weights, optimizer } of networks) {
    for (const [name, values] of [["weights", weights] as const, ...optimizerTensors(optimizer)]) {
      if (!values.every(Number.isFinite)) {
        throw new RangeError(`Cannot write the state ${folder}: ${name} holds NaN or infinity`);
      }
    }
  }
  await writeFolderAtomically(folder, async (hidden) => {
    const tensors = networks.flatMap(({ weights, optimizer }, k) =>
      [["weights", weights] as const, ...optimizerTensors(optimizer)].map(([name, values]) => ({
        name: `${k}.${name}`,
        type: values instanceof Uint32Array ? "I32" as const : "F32" as const,
        shape: [values.length],
        bytes: new Uint8Array(values.slice().buffer as ArrayBuffer),
      }))
    );
    await writeSafetensors(join(hidden, tensorsName), tensors);
    await writeJson(join(hidden, logName), log);
    const files: Record<string, string> = {};
    for (const name of [tensorsName, logName]) files[name] = await hashFile(join(hidden, name));
    const optimizers = networks.map(({ optimizer }) => Object.keys(optimizer));
    const manifest: StateManifest = { format: stateFormat, step, skipped, facts, from, owed, optimizers, files };
    await writeJson(join(hidden, manifestName), manifest);
  });
}

function optimizerTensors(optimizer: Readonly<Record<string, StateArray>>): (readonly [string, StateArray])[] {
  return Object.entries(optimizer).map(([name, values]) => [`optimizer.${name}`, values] as const);
}

async function writeJson(path: string, value: unknown): Promise<void> {
  await writeFileAtomically(path, [new TextEncoder().encode(JSON.stringify(value))]);
}

/**
 * Reads a state back.
 *
 * @throws {StateError} If the folder is not there, is no state, or a file is not as it was written.
 */
export async function readState(folder: string): Promise<SavedState> {
  const { step, skipped, facts, from, owed = [], optimizers, files } = await readManifest(folder);
  for (const [name, hash] of Object.entries(files)) {
    const found = await hashFile(join(folder, name)).catch((error) => {
      throw new DamagedStateError(folder, `${name} cannot be read: ${error.message}`, { cause: error });
    });
    if (found !== hash) throw new DamagedStateError(folder, `${name} is damaged: it is not what was written`);
  }
  try {
    await using tensors = await SafetensorsFile.open(join(folder, tensorsName));
    const networks = [];
    for (const [k, names] of optimizers.entries()) {
      const optimizer: Record<string, StateArray> = {};
      for (const name of names) optimizer[name] = await readTensor(tensors, `${k}.optimizer.${name}`);
      networks.push({ weights: await tensors.float32(`${k}.weights`), optimizer });
    }
    const log: StepFigures[] = JSON.parse(await readPlainText(join(folder, logName)));
    if (!isLog(log)) throw new SyntaxError(`${logName} is no list of steps' figures`);
    return { content: { state: { step, skipped, networks }, log }, facts, from, owed };
  } catch (error) {
    if (!(error instanceof TensorFileError || error instanceof SyntaxError)) throw error;
    throw new DamagedStateError(folder, `it is damaged: ${error.message}`, { cause: error });
  }
}

/** What a state belongs to; its files are not read. */
export async function readStateFacts(folder: string): Promise<StateFacts> {
  return (await readManifest(folder)).facts;
}

/**
 * Reads a state that the user has named, or a part of it.
 *
 * @throws {StateError} What the reading throws, with the newest whole state beside it, or what to do about a damaged one.
 */
export async function suggestingAnother<T>(folder: string, read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (error) {
    if (!(error instanceof StateError)) throw error;
    const other = await wholeBeside(folder);
    if (!other && !(error instanceof DamagedStateError)) throw error;
    const advice = other
      ? `Beside it ${other.path} is whole, with ${other.step} steps: name that`
      : "Copy it again from where it is whole, or begin without it";
    throw new StateError(folder, `${error.problem}. ${advice}`, { cause: error });
  }
}

async function wholeBeside(folder: string): Promise<StatePlace | null> {
  return await newestState(dirname(folder), (path) => resolve(path) !== resolve(folder));
}

/** A state, and the steps that it has done. */
export interface StatePlace {
  readonly path: string;
  readonly step: number;
}

/**
 * The whole state in a folder that has done most steps; null where there is none, or no such folder.
 *
 * @param isMeant Which of them count, by path and manifest.
 */
export async function newestState(
  parent: string,
  isMeant: (path: string, manifest: StateManifest) => boolean,
): Promise<StatePlace | null> {
  const found: StatePlace[] = [];
  const unlessBroken = <T>(read: Promise<T>) =>
    read.catch((error) => {
      if (error instanceof StateError) return null;
      throw error;
    });
  const isFolder = await stat(parent).then((found) => found.isDirectory(), () => false);
  for (const name of isFolder ? (await readdir(parent)).sort() : []) {
    const path = join(parent, name);
    if (!name.endsWith("-state") || name.startsWith(".")) continue;
    const manifest = await unlessBroken(readManifest(path));
    if (manifest && isMeant(path, manifest)) found.push({ path, step: manifest.step });
  }
  for (const each of found.sort((a, b) => b.step - a.step)) if (await unlessBroken(readState(each.path))) return each;
  return null;
}

/** A hash that stands for a state's content, and the hash of the state that its training was started from. */
export async function readStateMark(folder: string): Promise<{ hash: string; from: string | undefined }> {
  const { from } = await readManifest(folder);
  return { hash: await hashFile(join(folder, manifestName)), from };
}

async function readManifest(folder: string): Promise<StateManifest> {
  const path = join(folder, manifestName);
  let manifest: unknown;
  try {
    manifest = JSON.parse(await readPlainText(path));
  } catch (error) {
    if (error instanceof SyntaxError) throw new DamagedStateError(folder, `${path} is damaged: it is no JSON`);
    const problem = error instanceof SpecialFileError
      ? error.message
      : await isThere(folder)
      ? `it has no ${manifestName}; wanted a folder that --save_state wrote, such as name-state`
      : "there is no such folder";
    throw new StateError(folder, problem, { cause: error });
  }
  const problem = manifestProblem(manifest, [tensorsName, logName]);
  if (problem !== null) throw new StateError(folder, `${path} ${problem}`);
  return manifest as StateManifest;
}

async function readTensor(file: SafetensorsFile, name: string): Promise<StateArray> {
  return file.entry(name).type === "I32" ? new Uint32Array((await file.int32(name)).buffer) : await file.float32(name);
}

const checkpointName = /^checkpoint-\d{8}$/;

function stepOf(checkpoint: string): number {
  return Number(checkpoint.slice(-8));
}

/** How many checkpoints lie beside each other: one that a disk has damaged costs no more than the steps since the one before. */
const keptCheckpoints = 2;

/** Checkpoints of a step at work, in its own folder: the newest that is whole counts. */
export class CheckpointFolder {
  constructor(private readonly folder: string, private readonly warn: (message: string) => void) {}

  /**
   * The newest whole checkpoint; one that is damaged is told of and passed over.
   *
   * @param before Of those of so many steps or fewer.
   */
  async newest(before = Infinity): Promise<SavedState | null> {
    await removeLeftovers(this.folder, (name) => checkpointName.test(name));
    for (const name of (await this.names()).filter((name) => stepOf(name) <= before).toReversed()) {
      try {
        return await readState(join(this.folder, name));
      } catch (error) {
        if (!(error instanceof StateError)) throw error;
        this.warn(`${error.message}. It is passed over`);
      }
    }
    return null;
  }

  /**
   * Writes a checkpoint.
   *
   * @param options.prune Whether those that are too old are removed then.
   */
  async write(state: SavedState, { prune = true } = {}): Promise<void> {
    const { step } = state.content.state;
    await writeState(this.path(step), state);
    if (!prune) return;
    // Later ones were passed over, as nobody could go on from them: they must not count for this one.
    const reached = (await this.names()).filter((name) => stepOf(name) <= step);
    for (const name of reached.slice(0, -keptCheckpoints)) await removeAtomically(join(this.folder, name));
  }

  /** Where the checkpoint of a step lies, if there is one. */
  path(step: number): string {
    return join(this.folder, `checkpoint-${`${step}`.padStart(8, "0")}`);
  }

  private async names(): Promise<string[]> {
    return (await readdir(this.folder)).filter((name) => checkpointName.test(name)).sort();
  }
}
