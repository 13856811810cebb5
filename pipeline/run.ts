import { randomUUID } from "node:crypto";
import { statSync } from "node:fs";
import { join, relative, resolve, sep } from "node:path";
import { makeFolder } from "../formats/write_errors.ts";
import { RunControl } from "./control.ts";
import { InterruptedError, Pace, type RunEvent, type StepEvent } from "./events.ts";
import { checkDiskSpace } from "./disk_space.ts";
import { canonicalJson, type FileRecord } from "./hash.ts";
import { planSteps } from "./describe.ts";
import { HeldValues, type Slot } from "./held_values.ts";
import { Journal } from "./journal.ts";
import { type Links, linkSteps } from "./links.ts";
import { lockFolder, lockPaths } from "./lock.ts";
import { withReads } from "./reads.ts";
import { type RecordedStep, type RecordOptions, type RunExit, RunRecorder } from "./run_record.ts";
import { InputError, type Plan, type StepRun } from "./step.ts";
import {
  changedInput,
  findStepFolders,
  type Manifest,
  productHash,
  type StepFolder,
  type StepInputs,
} from "./step_folder.ts";
import type { AnyStep } from "./type_errors.ts";
import { versions } from "./versions.ts";

/** How to run a recipe. */
export interface RunOptions<Kept extends string = string> {
  /** Run folder; made if it is not there. Default: `out/<name of the recipe>`. */
  readonly folder?: string;
  /** Stops the run: between steps, or where a step looks at it. */
  readonly signal?: AbortSignal;
  /** Told what happens, in order. An error it throws stops the run. */
  readonly onEvent?: (event: RunEvent) => void;
  /** Names of things to hand back when the run is over; the caller then releases them. */
  readonly keep?: readonly Kept[];
  /** What `run.json` says of the start. */
  readonly record?: RecordOptions;
}

/** What a run leaves behind beside its folder. */
export interface RunResult<Kept> {
  readonly folder: string;
  readonly seconds: number;
  readonly steps: readonly { readonly name: string; readonly outcome: "ran" | "unchanged"; readonly seconds: number }[];
  /** The values of `keep`. */
  readonly values: Kept;
}

/** Runs steps in order in a run folder, as the folder's README.md tells. */
export async function runSteps(
  recipe: { readonly name: string; readonly steps: readonly AnyStep[] },
  folder: string,
  options: RunOptions,
): Promise<RunResult<Record<string, unknown>>> {
  const path = resolve(folder);
  await makeFolder(path);
  using _lock = await lockFolder(path);
  await using _claims = await lockPaths(recipe.steps.flatMap(({ claims }) => claims));
  const recorder = await RunRecorder.open(
    { folder: path, recipe: recipe.name, machine: versions() },
    options.record,
  );
  const id = randomUUID(), names = recipe.steps.map((step) => step.name);
  const folders = await findStepFolders(path, names, { renumber: true });
  using journal = new Journal(path, (message) => run.warn(message));
  const emit = (event: RunEvent) => {
    journal.note(event);
    options.onEvent?.(event);
  };
  using control = new RunControl(path, id, options.signal);
  const run = new Run(recipe.steps, path, folders, { ...options, control, recorder, onEvent: emit });
  const started = performance.now();
  emit({ type: "run-started", id, recipe: recipe.name, folder: path, steps: names });
  try {
    const values = await run.go();
    await run.record(recorder.done);
    const seconds = secondsSince(started);
    emit({ type: "run-finished", seconds });
    return { folder: path, seconds, steps: run.outcomes(), values };
  } catch (error) {
    await run.endAfterFailure(recorder.exitOf(asError(error)));
    if (error instanceof InterruptedError) emit({ type: "run-interrupted", message: error.message });
    else emit({ type: "run-failed", error: asError(error) });
    throw error;
  }
}

/** What is known of a step in this run. */
interface StepState {
  readonly step: AnyStep;
  readonly index: number;
  readonly folder: StepFolder;
  inputs?: StepInputs;
  /** Files that were hashed for its inputs. */
  reads: readonly FileRecord[];
  /** Of the product that is there now. */
  manifest?: Manifest;
  /** Files and folders that it made and that may go missing. */
  readonly passing: Set<string>;
  productHash?: string;
  /** Seconds it ran; absent if it did not. */
  ranSeconds?: number;
  /** Seconds it took when its product was made, in this run or an earlier one. */
  madeSeconds?: number;
}

/** One run of a recipe. */
class Run {
  readonly #folder: string;
  readonly #states: readonly StepState[];
  readonly #links: Links;
  readonly #held = new HeldValues();
  readonly #keep: readonly string[];
  readonly #control: RunControl;
  readonly #signal: AbortSignal;
  readonly #onEvent: (event: RunEvent) => void;
  /** The step whose turn it is. */
  #current: StepState;
  readonly #recorder: RunRecorder;
  #isChecked = false;

  constructor(
    steps: readonly AnyStep[],
    folder: string,
    folders: readonly StepFolder[],
    options: Pick<RunOptions, "keep"> & {
      readonly control: RunControl;
      readonly recorder: RunRecorder;
      readonly onEvent: (event: RunEvent) => void;
    },
  ) {
    this.#folder = folder;
    this.#recorder = options.recorder;
    this.#states = steps.map((step, index) => ({ step, index, folder: folders[index], reads: [], passing: new Set() }));
    this.#links = linkSteps(steps);
    this.#keep = options.keep ?? [];
    this.#control = options.control;
    this.#signal = options.control.signal;
    this.#onEvent = options.onEvent;
    this.#current = this.#states[0];
    this.#control.tell = (event) => this.#emit(this.#current, event);
    for (const name of this.#keep) {
      if (!Object.hasOwn(this.#links.final, name)) {
        throw new TypeError(`Cannot keep '${name}': it is not there after the last step`);
      }
    }
  }

  /** Tells something that concerns the run, and does not stop it. */
  warn(message: string): void {
    this.#emit(this.#current, { type: "warning", message });
  }

  /** Brings every step up to date, then hands back the values to keep. */
  async go(): Promise<Record<string, unknown>> {
    const kept = this.#keep.map((name) => ({ index: this.#links.final[name], name }));
    const isKept = (slot: Slot) => kept.some(({ index, name }) => slot.index === index && slot.name === name);
    for (const state of this.#states) {
      this.#current = state;
      await this.#guard(state, () => this.#control.whilePaused());
      this.#stopIfAborted(state);
      const because = await this.#guard(state, () => this.#reasonToRun(state));
      if (because === undefined) this.#emit(state, { type: "step-unchanged" });
      else {
        await this.#check(state);
        await this.#execute(state, because);
      }
      await this.#release((slot) => this.#links.lastUse(slot) <= state.index && !isKept(slot));
    }
    for (const slot of kept) await this.#obtain(slot, "the caller keeps");
    await this.#release((slot) => !isKept(slot));
    const values = Object.fromEntries(kept.map((slot) => [slot.name, this.#held.get(slot)]));
    for (const slot of kept) this.#held.handOver(slot);
    return values;
  }

  outcomes(): RunResult<unknown>["steps"] {
    return this.#states.map(({ step, ranSeconds }) => ({
      name: step.name,
      outcome: ranSeconds === undefined ? "unchanged" : "ran",
      seconds: ranSeconds ?? 0,
    }));
  }

  /** Releases what is held when a run ends early, and records the end. Errors become warnings: the first error is the one to throw. */
  async endAfterFailure(exit: RunExit): Promise<void> {
    for (const { slot, error } of await this.#held.release(() => true)) {
      const message = `Cannot release '${slot.name}': ${asError(error).message}`;
      this.#emit(this.#states[slot.index], { type: "warning", message });
    }
    try {
      await this.record(exit);
    } catch (error) {
      const last = this.#states.findLast(({ inputs }) => inputs !== undefined) ?? this.#states[0];
      this.#emit(last, { type: "warning", message: `Cannot write the run's record: ${asError(error).message}` });
    }
  }

  /** Writes `run.json` as things stand. */
  async record(exit: RunExit | null = null): Promise<void> {
    await this.#recorder.write(this.#states.map((state) => this.#recorded(state)), exit);
  }

  #recorded({ step, inputs, reads, manifest, passing, folder, ranSeconds, madeSeconds }: StepState): RecordedStep {
    const product = relative(this.#folder, folder.product).split(sep).join("/");
    return {
      ...{ name: step.name, version: step.version, options: step.options, inputs, reads },
      ...(step.seeds ? { seeds: step.seeds } : {}),
      ran: ranSeconds !== undefined,
      seconds: madeSeconds,
      product: manifest?.files.map((file) => ({ ...file, path: `${product}/${file.path}` })) ?? [],
      artifacts: manifest?.artifacts.map((file) => ({ ...file, path: join(folder.path, file.path) })) ?? [],
      passing: [...passing],
    };
  }

  /** Why a step must run; `undefined` if what it made is still good. */
  async #reasonToRun(state: StepState): Promise<string | undefined> {
    const { step, folder } = state;
    const sources = this.#links.sources[state.index];
    const needs = Object.keys(step.needs).map((name) => [name, this.#states[sources[name]].productHash as string]);
    const earlier = await folder.earlier(step);
    const { value: fingerprint, reads } = await withReads(() =>
      step.fingerprint?.(this.#signal, this.#folder, earlier)
    );
    state.reads = reads;
    const inputs: StepInputs = {
      step: step.name,
      version: step.version,
      options: step.options,
      fingerprint: fingerprint ?? null,
      needs: Object.fromEntries(needs),
      gives: Object.keys(step.gives).sort(),
      stored: step.store !== undefined,
    };
    canonicalJson(inputs.fingerprint, "fingerprint", `step '${step.name}'`);
    state.inputs = inputs;
    const { manifest, damage } = await folder.read();
    if (damage !== undefined) {
      this.#emit(state, { type: "step-damaged", problem: damage });
      return "damaged";
    }
    if (manifest === undefined) return "first run";
    state.productHash = productHash(manifest);
    const because = changedInput(manifest.inputs, inputs);
    if (because === undefined) this.#made(state, manifest);
    return because;
  }

  /** Asks all plans, once, whether the machine can do them, and whether there is room for what is written from the first step on that runs. */
  async #check(first: StepState): Promise<void> {
    if (this.#isChecked) return;
    this.#isChecked = true;
    const plans: Plan<Record<string, unknown>>[] = [];
    try {
      for await (
        const { plan } of planSteps(
          this.#states.map(({ step }) => step),
          this.#states.map(({ folder }) => folder),
        )
      ) {
        plans.push(plan);
      }
    } catch (error) {
      if (error instanceof InputError) {
        await this.#guard(this.#states[plans.length], () => Promise.reject(error));
      }
      // What cannot be planned yet, such as data that an earlier step makes, may be there when its turn comes; if not, the step itself says so.
    }
    for (const [index, { check }] of plans.entries()) {
      await this.#guard(this.#states[index], async () => await check?.());
    }
    await checkDiskSpace(plans.slice(first.index).flatMap(({ disk = [] }) => disk), this.#folder);
  }

  /** Runs a step, keeps what it made in memory and, if it has a store, on disk. */
  async #execute(state: StepState, because: string): Promise<void> {
    const { step, index, folder } = state;
    const inputs = state.inputs as StepInputs;
    const values: Record<string, unknown> = {};
    const slots = Object.entries(this.#links.sources[index]).map(([name, source]) => ({ index: source, name }));
    for (const slot of slots) await this.#obtain(slot, `'${step.name}' needs`);
    // Read only now: making one value again may have made another anew.
    for (const slot of slots) values[slot.name] = this.#held.get(slot);
    this.#stopIfAborted(state);
    await this.#guard(state, async () => {
      const { resumes, notes } = await folder.begin(inputs, step.workOptions);
      await this.record();
      this.#emit(state, { type: "step-started", because, resumes });
      for (const message of notes) this.#emit(state, { type: "warning", message });
      const started = performance.now();
      const artifacts: string[] = [];
      const product = Object(await step.run(Object.freeze(values), this.#stepRun(state, artifacts)) ?? {});
      await this.#hold(state, product);
      for (const slot of slots.filter(({ name }) => step.gives[name]?.replaces)) this.#held.handOver(slot);
      const { store } = step;
      const save = store && ((productFolder: string) => store.save(product, productFolder));
      const manifest = await folder.commit({ inputs, artifacts, seconds: secondsSince(started), save });
      this.#made(state, manifest);
      state.ranSeconds = (state.ranSeconds ?? 0) + manifest.seconds;
      this.#emit(state, { type: "step-finished", seconds: manifest.seconds });
    });
  }

  #made(state: StepState, manifest: Manifest): void {
    state.manifest = manifest;
    state.productHash = productHash(manifest);
    state.madeSeconds = manifest.seconds;
  }

  /** Sees to it that a needed value is held: loads it or makes it again. */
  async #obtain(slot: Slot, who: string): Promise<void> {
    if (this.#held.has(slot)) return;
    const state = this.#states[slot.index];
    if (state.step.store) await this.#guard(state, () => this.#load(state));
    else await this.#execute(state, `${who} '${slot.name}'`);
  }

  async #load(state: StepState): Promise<void> {
    const { store } = state.step;
    await this.#hold(state, Object(await store?.load(state.folder.product) ?? {}));
    this.#emit(state, { type: "step-loaded" });
  }

  /** Takes what a step made or loaded into memory; a step must keep its word on what it gives. */
  async #hold({ step, index }: StepState, product: Record<string, unknown>): Promise<void> {
    const names = Object.keys(step.gives);
    // Held first and checked then: what is there is released if the check fails.
    for (const name of names) if (product[name] !== undefined) await this.#held.set({ index, name }, product[name]);
    const missing = names.find((name) => product[name] === undefined);
    if (missing === undefined) return;
    const found = Object.keys(product).map((key) => `'${key}'`).join(", ") || "nothing";
    throw new TypeError(`Step '${step.name}' says it gives '${missing}', but it gave ${found}`);
  }

  #stepRun(state: StepState, artifacts: string[]): StepRun {
    let pace = new Pace(), lastUnit = "";
    return {
      folder: state.folder.work,
      signal: this.#signal,
      earlier: this.#states.slice(0, state.index).map(({ step, madeSeconds = 0 }) => ({
        name: step.name,
        seconds: madeSeconds,
      })),
      progress: (progress) => {
        // Other work has another pace.
        if (progress.unit !== lastUnit) pace = new Pace();
        lastUnit = progress.unit;
        const found = pace.after({ ...progress, nowSeconds: performance.now() / 1000 });
        this.#emit(state, { type: "progress", ...progress, ...found });
      },
      figures: (figures) => this.#emit(state, { type: "figures", figures: { ...figures } }),
      artifact: (path, { isPassing = false, shows } = {}) => {
        const found = statSync(path, { throwIfNoEntry: false });
        if (!(found?.isFile() || (isPassing && found?.isDirectory()))) {
          throw new TypeError(`Cannot report ${path} as an artifact of step '${state.step.name}': it is no file`);
        }
        if (isPassing) state.passing.add(resolve(path));
        else artifacts.push(resolve(path));
        this.#emit(state, { type: "artifact", path, ...(shows === undefined ? {} : { shows }) });
      },
      control: {
        wish: () => this.#control.wish(),
        whilePaused: async () => {
          await this.#control.whilePaused();
          // Waiting is no part of the pace.
          pace = new Pace();
        },
      },
      saved: (paths) => this.#emit(state, { type: "saved", paths }),
      machine: (facts) => this.#recorder.noteMachine(facts),
      warn: (message) => this.#emit(state, { type: "warning", message }),
    };
  }

  /** Tells which step an error belongs to, and turns one that comes from the signal into an InterruptedError. */
  async #guard<T>(state: StepState, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      const isAbort = error === this.#signal.reason || (error as Error)?.name === "AbortError";
      if (this.#signal.aborted && isAbort) throw new InterruptedError(state.step.name, "in", { cause: error });
      this.#emit(state, { type: "step-failed", error: asError(error) });
      throw error;
    }
  }

  #stopIfAborted({ step }: StepState): void {
    if (this.#signal.aborted) throw new InterruptedError(step.name, "before", { cause: this.#signal.reason });
  }

  async #release(isOver: (slot: Slot) => boolean): Promise<void> {
    const [failed] = await this.#held.release(isOver);
    if (failed) throw new Error(`Cannot release '${failed.slot.name}'`, { cause: failed.error });
  }

  #emit(state: StepState, event: EventBody): void {
    this.#onEvent({ step: state.step.name, index: state.index, ...event } as StepEvent);
  }
}

/** An event of a step without the step. */
type EventBody = StepEvent extends infer Event ? Event extends StepEvent ? Omit<Event, "step" | "index"> : never
  : never;

function secondsSince(start: number): number {
  return (performance.now() - start) / 1000;
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
