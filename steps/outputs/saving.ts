import { join } from "node:path";
import { makeFolder } from "../../formats/write_errors.ts";
import { removeAtomically, removeLeftovers } from "../../formats/atomic_folder.ts";
import { hashJson } from "../../pipeline/mod.ts";
import { checkOptions, type OptionNames } from "../values/check_options.ts";
import { checkLoraFileOptions, loraFileOptionNames, type LoraFileOptions, writeNetworkFile } from "./lora_files.ts";
import type { OutputContext } from "./open_outputs.ts";
import { newestState, type SavedState, type StatePlace, writeState } from "./state_folder.ts";
import type { TrainingContent, TrainingMoment, TrainingOutput } from "./training_output.ts";
import { checkFileName, isPath } from "../values/file_name.ts";

/** What a training saves while it runs, and how many of it are kept; sd-scripts' names in brackets. */
export interface SaveOptions extends LoraFileOptions {
  /** Folder of files and states; made if it is not there (`--output_dir`). */
  readonly folder: string;
  /**
   * Names of the networks' files without their endings (`--output_name`, `--output_name_2`); network 2's is network 1's with `_2` when left out.
   * Without any, files are called `epoch-…`, `at-step…` and `last`, as sd-scripts' are.
   */
  readonly names?: { readonly network1?: string; readonly network2?: string };
  /** Saves after each so many epochs but the last (`--save_every_n_epochs`). */
  readonly everyEpochs?: number;
  /** Saves after each so many steps (`--save_every_n_steps`). */
  readonly everySteps?: number;
  /** Saves at least so many times in a run, after whole epochs; takes the place of `everyEpochs` (`--save_n_epoch_ratio`). */
  readonly timesPerRun?: number;
  /** Keeps the last so many files of epochs (`--save_last_n_epochs`). */
  readonly lastEpochs?: number;
  /** Keeps the files of the last so many steps (`--save_last_n_steps`). */
  readonly lastSteps?: number;
  /** As `lastEpochs`, for states; `lastEpochs` when left out (`--save_last_n_epochs_state`). */
  readonly lastEpochsState?: number;
  /** As `lastSteps`, for states; `lastSteps` when left out (`--save_last_n_steps_state`). */
  readonly lastStepsState?: number;
  /** Also saves, beside each file and at the end, all that is needed to go on (`--save_state`). */
  readonly state?: boolean;
}

const names: OptionNames<SaveOptions> = {
  ...loraFileOptionNames,
  folder: true,
  names: true,
  everyEpochs: true,
  everySteps: true,
  timesPerRun: true,
  lastEpochs: true,
  lastSteps: true,
  lastEpochsState: true,
  lastStepsState: true,
  state: true,
};

/**
 * Checks values before anything runs.
 *
 * @throws {TypeError} If an option is unknown, or a name or the folder is none.
 * @throws {RangeError} If a number or format is out of range.
 */
export function checkSaving(step: string, options: SaveOptions): void {
  checkOptions<SaveOptions>(step, options, names, "save");
  checkOptions(step, options.names ?? {}, { network1: true, network2: true }, "save.names");
  checkLoraFileOptions(options, "save.");
  const { folder, state = false, names: _, precision: _p, format: _f, comment: _c, metadata: _m, ...counts } = options;
  if (!isPath(folder)) {
    throw new TypeError(`Cannot save networks: save.folder is ${JSON.stringify(folder)}, must be a path`);
  }
  if (typeof state !== "boolean") {
    throw new RangeError(`Cannot save networks: save.state is ${JSON.stringify(state)}, must be true or false`);
  }
  for (const [name, value] of Object.entries(counts)) {
    if (value === undefined || (Number.isInteger(value) && value > 0)) continue;
    throw new RangeError(`Cannot save networks: save.${name} is ${value}, must be a whole number above 0`);
  }
  const [one, two] = ([1, 2] as const).map((number) => fileName(options, number, "last"));
  for (const name of [one, two]) checkFileName(name);
  // File systems may take names that differ in case alone for one.
  if (one.toLowerCase() === two.toLowerCase()) {
    throw new TypeError(`Cannot save networks: both would be called ${one}; give save.names.network2 another name`);
  }
}

/** Name of a network's files, without what tells the epoch or step, and without the ending. */
function fileName({ names: { network1, network2 } = {} }: SaveOptions, number: 1 | 2, usual: string): string {
  return number === 1 ? network1 ?? usual : network2 ?? `${network1 ?? usual}_2`;
}

/** What a training's files are called, epochs, steps and endings left out: no other run may write such at the same time. */
export function savingClaims(save: SaveOptions | undefined): string[] {
  return save ? ([1, 2] as const).map((number) => join(save.folder, fileName(save, number, "last"))) : [];
}

/** Epochs between two saves; null for never. */
export function savingEpochs({ everyEpochs, timesPerRun }: SaveOptions, epochs: number): number | null {
  if (timesPerRun !== undefined) return Math.floor(epochs / timesPerRun) || 1;
  return everyEpochs ?? null;
}

/** Saves networks and states while a training runs, under sd-scripts' names, and removes old ones. */
export class SavingOutput implements TrainingOutput {
  readonly writes = "files";
  private readonly startedAt = Date.now() / 1000;
  private readonly everyEpochs: number | null;

  private constructor(private readonly options: SaveOptions, private readonly context: OutputContext) {
    this.everyEpochs = savingEpochs(options, context.epochs);
  }

  /** Makes the folder, and removes what a run that was killed left half-written there. */
  static async open(options: SaveOptions, context: OutputContext): Promise<SavingOutput> {
    await makeFolder(options.folder);
    const own = ([1, 2] as const).flatMap((number) =>
      ["epoch", "at", "last"].map((usual) => fileName(options, number, usual))
    );
    const rest = /^(-\d{6}|-step\d{8})?(-state|\.safetensors|\.pt|\.ckpt)$/;
    await removeLeftovers(
      options.folder,
      (name) => own.some((start) => name.startsWith(start) && rest.test(name.slice(start.length))),
    );
    return new SavingOutput(options, context);
  }

  isDue(moment: TrainingMoment): boolean {
    return marks(this.options, this.everyEpochs, moment).length > 0 || (this.options.state === true && moment.isLast);
  }

  async write(moment: TrainingMoment, content: TrainingContent): Promise<void> {
    const { state = false } = this.options, { trained } = this.context;
    for (const { usual, mark, old, oldStates } of marks(this.options, this.everyEpochs, moment)) {
      await this.writeFiles(usual, mark, content);
      for (const [number] of trained(content)) {
        for (const each of old) await removeAtomically(filePath(this.options, number, usual, each));
      }
      if (!state) continue;
      await this.writeState(this.statePath(usual, mark), content);
      for (const each of oldStates) await removeAtomically(this.statePath(usual, each));
    }
    if (state && moment.isLast) await this.writeState(this.statePath("last", ""), content);
  }

  async saved(most: number): Promise<StatePlace | null> {
    const { options: { folder }, context: { facts } } = this;
    // Other trainings may have left states in the same folder.
    return await newestState(folder, (_, found) => found.step <= most && hashJson(found.facts) === hashJson(facts));
  }

  async saveNow({ step }: TrainingMoment, content: TrainingContent): Promise<string[]> {
    const mark = stepMark(step), state = this.statePath("at", mark), files = await this.writeFiles("at", mark, content);
    await this.writeState(state, content);
    return [...files, state];
  }

  /** Writes the networks that have trained. */
  private async writeFiles(usual: string, mark: string, content: TrainingContent): Promise<string[]> {
    const { trained, bases, run } = this.context, files: string[] = [];
    for (const [number, network] of trained(content)) {
      const file = filePath(this.options, number, usual, mark);
      const time = { startedAt: this.startedAt, finishedAt: Date.now() / 1000 };
      await writeNetworkFile(file, bases[number]!, network, this.options, time);
      run.artifact(file, { isPassing: true });
      files.push(file);
    }
    return files;
  }

  async rescue(state: SavedState): Promise<string> {
    const path = this.statePath("last", "-before-divergence");
    await this.writeState(path, state.content, state.facts);
    return path;
  }

  private async writeState(path: string, content: TrainingContent, facts = this.context.facts): Promise<void> {
    await writeState(path, { content, facts, from: this.context.from });
    this.context.run.artifact(path, { isPassing: true });
  }

  private statePath(usual: string, mark: string): string {
    return statePath(this.options, this.context.facts.networks[0].number, usual, mark);
  }
}

/** What is saved at a moment: sd-scripts' word for a file without a name, what its name ends in, and the ends of those that go. */
function marks(options: SaveOptions, everyEpochs: number | null, { step, epoch, isEpochEnd, isLast }: TrainingMoment) {
  const { everySteps, lastEpochs, lastSteps, lastEpochsState, lastStepsState } = options;
  const found: { usual: string; mark: string; old: string[]; oldStates: string[] }[] = [];
  if (everyEpochs !== null && isEpochEnd && !isLast && epoch % everyEpochs === 0) {
    const old = (kept: number | undefined) =>
      earlier(epoch, everyEpochs, epochDistance(kept, everyEpochs)).map(epochMark);
    found.push({
      ...{ usual: "epoch", mark: epochMark(epoch) },
      ...{ old: old(lastEpochs), oldStates: old(lastEpochsState ?? lastEpochs) },
    });
  }
  if (everySteps !== undefined && step % everySteps === 0) {
    const old = (kept: number | undefined) => earlier(step, everySteps, stepDistance(kept)).map(stepMark);
    found.push({
      ...{ usual: "at", mark: stepMark(step) },
      ...{ old: old(lastSteps), oldStates: old(lastStepsState ?? lastSteps) },
    });
  }
  return found;
}

/** How far behind a save of epochs those lie that go; none go when left out. */
export function epochDistance(kept: number | undefined, every: number | null): number | undefined {
  return kept === undefined || every === null ? undefined : kept * every;
}

/** The same in steps: sd-scripts keeps one that lies just so many behind. */
export function stepDistance(kept: number | undefined): number | undefined {
  return kept === undefined ? undefined : kept + 1;
}

/** A network's file. */
export function filePath(options: SaveOptions, number: 1 | 2, usual: string, mark: string): string {
  return join(options.folder, `${fileName(options, number, usual)}${mark}.${options.format ?? "safetensors"}`);
}

/** A state holds all networks of a training, so it has the first one's name. */
export function statePath(options: SaveOptions, first: 1 | 2, usual: string, mark: string): string {
  return join(options.folder, `${fileName(options, first, usual)}${mark}-state`);
}

/** What ends the name of an epoch's save. */
export function epochMark(epoch: number): string {
  return `-${`${epoch}`.padStart(6, "0")}`;
}

/** What ends the name of a step's save. */
export function stepMark(step: number): string {
  return `-step${`${step}`.padStart(8, "0")}`;
}

/** Multiples of `every` that lie `distance` or more behind `now`; none where there is no distance. */
export function earlier(now: number, every: number, distance: number | undefined): number[] {
  if (distance === undefined) return [];
  return Array.from({ length: Math.max(0, Math.floor((now - distance) / every)) }, (_, at) => (at + 1) * every);
}
