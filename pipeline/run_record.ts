import { readFile, stat } from "node:fs/promises";
import { join, relative, resolve, sep } from "node:path";
import process from "node:process";
import { writeFileAtomically } from "../formats/atomic_file.ts";
import { InterruptedError } from "./events.ts";
import { canonicalJson, type FileRecord, hashJson, recordFile, recordFolder } from "./hash.ts";
import { type Started, startedHere } from "./started.ts";
import type { StepInputs } from "./step_folder.ts";

/** Name of a run's record in its folder. */
export const runRecordName = "run.json";

const format = "dualora-run-1";

/** A file that a run read: `of` is the step that read it, or `start` for what started the run. */
export interface InputRecord extends FileRecord {
  readonly of: string;
}

/** A file that a run wrote, outside of its own folder; `isPassing` if a later run may take it away. */
export interface OutputRecord extends FileRecord {
  readonly step: string;
  readonly isPassing: boolean;
}

/** How a run ended. */
export interface RunExit {
  readonly outcome: "finished" | "stopped" | "failed";
  /** Exit code of the process; null where another program ran the recipe. */
  readonly code: number | null;
  /** What was wrong. */
  readonly message?: string;
}

/** One start of a run: a run that was stopped goes on with another. */
export interface StartRecord {
  /** ISO 8601, UTC. */
  readonly startedAt: string;
  /** Null while it is at work, and after it was killed. */
  readonly finishedAt: string | null;
  /** What of the machine decides the bits: versions, adapter, driver, operating system. */
  readonly machine: { readonly [name: string]: unknown };
  /** Names of the steps that ran. */
  readonly ran: readonly string[];
  /** Null while it is at work, and after it was killed. */
  readonly exit: RunExit | null;
}

/** A step as it was resolved and run. */
export interface StepRecord {
  readonly name: string;
  readonly version: string;
  /** As the step was given them; what is left out stands at the default of the program's version. */
  readonly options: unknown;
  /** Random seeds, those that were left out too. */
  readonly seeds: { readonly [name: string]: number | readonly number[] };
  readonly outcome: "ran" | "unchanged" | "unfinished" | "not reached";
  /** What it read from outside, as the step hashes it; null where it was not reached. */
  readonly fingerprint: unknown;
  /** Hashes of what it took from earlier steps. */
  readonly needs: { readonly [name: string]: string };
  /** Seconds that its product took, in this start or an earlier one; null where there is none. */
  readonly seconds: number | null;
  /** Files of its product; paths from the run's folder. */
  readonly product: readonly FileRecord[];
}

/** What a run leaves in `run.json`: all that is needed to repeat it, and to compare. */
export interface RunRecord {
  readonly format: typeof format;
  readonly recipe: string;
  /** How the last start ended; null while it is at work, and after it was killed: then nothing else here is whole. */
  readonly exit: RunExit | null;
  /** Null where a program of somebody's own ran the recipe. */
  readonly started: Started | null;
  /** Where the process ran. Other paths are relative to it, or absolute where they lie elsewhere. */
  readonly workingFolder: string;
  /** The run's own folder. */
  readonly folder: string;
  /** In the order of time. */
  readonly starts: readonly StartRecord[];
  readonly inputs: readonly InputRecord[];
  readonly steps: readonly StepRecord[];
  readonly outputs: readonly OutputRecord[];
}

/** What a run is told to record beside what its steps do. */
export interface RecordOptions {
  /** How it was started; the script of this process when left out, null where it cannot be started again by itself. */
  readonly started?: Started | null;
  /** Files that say what is run, such as settings; the script when left out. */
  readonly inputs?: readonly string[];
  /** The exit code that the process will leave with after an error. */
  readonly exitCodeOf?: (error: Error) => number;
}

/** What is known of a step; the run fills it in. */
export interface RecordedStep {
  readonly name: string;
  readonly version: string;
  readonly options: unknown;
  readonly seeds?: StepRecord["seeds"];
  readonly inputs: StepInputs | undefined;
  readonly reads: readonly FileRecord[];
  readonly ran: boolean;
  readonly seconds: number | undefined;
  /** Paths from the run's folder. */
  readonly product: readonly FileRecord[];
  /** Absolute paths. */
  readonly artifacts: readonly FileRecord[];
  /** Absolute paths of files and folders that a later run may take away. */
  readonly passing: readonly string[];
}

/** Keeps a run's record. */
export class RunRecorder {
  readonly #path: string;
  readonly #folder: string;
  readonly #recipe: string;
  readonly #started: Started | null;
  readonly #exitCodeOf: RecordOptions["exitCodeOf"];
  readonly #startedAt = new Date().toISOString();
  readonly #before: RunRecord | null;
  readonly #ownInputs: readonly FileRecord[];
  readonly #machine: Record<string, unknown>;

  private constructor(
    place: { folder: string; recipe: string; machine: Readonly<Record<string, unknown>> },
    { started, exitCodeOf }: Pick<RecordOptions, "exitCodeOf"> & { started: Started | null },
    found: { before: RunRecord | null; inputs: readonly FileRecord[] },
  ) {
    this.#path = join(place.folder, runRecordName);
    this.#folder = place.folder;
    this.#recipe = place.recipe;
    this.#machine = { ...place.machine };
    this.#started = started;
    this.#exitCodeOf = exitCodeOf;
    this.#before = found.before;
    this.#ownInputs = found.inputs;
  }

  /** Makes ready to record a run; an earlier record in the folder is gone on with. Writes nothing yet. */
  static async open(
    place: { folder: string; recipe: string; machine: Readonly<Record<string, unknown>> },
    { started = startedHere(), exitCodeOf, ...options }: RecordOptions = {},
  ): Promise<RunRecorder> {
    const inputs: FileRecord[] = [];
    for (const path of options.inputs ?? (started ? [started.script] : [])) {
      inputs.push({ ...await recordFile(path, "."), path });
    }
    const before = await readRunRecord(join(place.folder, runRecordName)).catch((error) => {
      // A record that was never there, or that another version wrote, is begun anew.
      if (error instanceof SyntaxError || error.code === "ENOENT") return null;
      throw error;
    });
    return new RunRecorder(place, { started, exitCodeOf }, { before, inputs });
  }

  /** Notes what of the machine decides the bits, as a step finds it. */
  noteMachine(facts: Readonly<Record<string, unknown>>): void {
    Object.assign(this.#machine, facts);
  }

  /** Writes the record as things stand; without an exit it says that the run is at work. */
  async write(steps: readonly RecordedStep[], exit: RunExit | null = null): Promise<void> {
    const ran = steps.filter(({ ran }) => ran).map(({ name }) => name);
    // A start that was refused before it did anything says nothing of what lies there.
    if (this.#before && exit?.outcome === "failed" && ran.length === 0) return;
    const start: StartRecord = {
      startedAt: this.#startedAt,
      finishedAt: exit && new Date().toISOString(),
      machine: this.#machine,
      ran,
      exit,
    };
    const outputs = await this.#outputs(steps, exit !== null), made = new Set(outputs.map(({ path }) => path));
    const record: RunRecord = {
      format,
      recipe: this.#recipe,
      exit,
      started: this.#started && { ...this.#started, script: shortPath(this.#started.script) },
      workingFolder: process.cwd(),
      folder: shortPath(this.#folder),
      starts: [...this.#before?.starts ?? [], start],
      inputs: uniqueByPath([
        ...this.#ownInputs.map((file) => ({ ...file, path: shortPath(file.path), of: "start" })),
        ...steps.flatMap(({ name, reads }) =>
          // Files are hashed side by side, in whatever order.
          reads.toSorted((a, b) => a.path < b.path ? -1 : 1)
            .map((file) => ({ ...file, path: shortPath(file.path), of: name }))
            // What this run wrote itself, a step may read again.
            .filter(({ path }) => !made.has(path))
        ),
      ]),
      steps: steps.map(stepRecord),
      outputs,
    };
    canonicalJson(record.starts, "machine", "the run's record");
    // A line for each file.
    const text = JSON.stringify(record, null, 2).replace(
      /\{\s+"path": [^{}]*\}/g,
      (file) => file.replace(/\n\s+/g, " "),
    );
    await writeFileAtomically(this.#path, [new TextEncoder().encode(`${text}\n`)]);
  }

  /** How an error ends the run. */
  exitOf(error: Error): RunExit {
    return {
      outcome: error instanceof InterruptedError ? "stopped" : "failed",
      code: this.#exitCodeOf?.(error) ?? null,
      message: error.message,
    };
  }

  /** How a run that went well ends. */
  get done(): RunExit {
    return { outcome: "finished", code: this.#exitCodeOf ? 0 : null };
  }

  /** What an earlier start of the same step left and a later one may take away. */
  #earlierPassing({ name, options }: RecordedStep): string[] {
    const { steps = [], outputs = [], workingFolder = "." } = this.#before ?? {};
    const isSame = steps.some((step) => step.name === name && hashJson(step.options) === hashJson(options));
    if (!isSame) return [];
    return outputs.filter((each) => each.isPassing && each.step === name).map(({ path }) =>
      resolve(workingFolder, path)
    );
  }

  /** Files made for the user. Those that pass are hashed at the end alone: they may grow until then. */
  async #outputs(steps: readonly RecordedStep[], isEnd: boolean): Promise<OutputRecord[]> {
    const outputs: OutputRecord[] = [];
    for (const each of steps) {
      const { name: step, artifacts, passing } = each;
      const output = (file: FileRecord, isPassing: boolean) => ({
        ...{ path: shortPath(file.path), sizeBytes: file.sizeBytes, sha256: file.sha256 },
        ...{ step, isPassing },
      });
      outputs.push(...artifacts.map((file) => output(file, false)));
      if (!isEnd) continue;
      for (const path of new Set([...this.#earlierPassing(each), ...passing])) {
        for (const file of await filesAt(path)) outputs.push(output(file, true));
      }
    }
    return uniqueByPath(outputs);
  }
}

function stepRecord({ name, version, options, seeds = {}, inputs, ran, seconds, product }: RecordedStep): StepRecord {
  return {
    ...{ name, version, options, seeds },
    outcome: ran ? "ran" : seconds !== undefined ? "unchanged" : inputs ? "unfinished" : "not reached",
    fingerprint: inputs?.fingerprint ?? null,
    needs: inputs?.needs ?? {},
    seconds: seconds ?? null,
    product,
  };
}

/**
 * Reads a run's record.
 *
 * @throws {SyntaxError} If it is none, or another version's.
 * @throws What the file system throws.
 */
export async function readRunRecord(path: string): Promise<RunRecord> {
  const text = await readFile(path, "utf8"),
    fail = (problem: string) => new SyntaxError(`Cannot read ${path}: ${problem}`);
  let record: Partial<RunRecord> | null;
  try {
    record = JSON.parse(text);
  } catch (error) {
    throw new SyntaxError(fail("it is no JSON").message, { cause: error });
  }
  if (record?.format !== format) {
    throw fail(
      `its format is ${
        JSON.stringify(record?.format) ?? "not said"
      }, must be "${format}": the ${runRecordName} of a run's folder`,
    );
  }
  const isFile = (file: Partial<FileRecord> | null) =>
    typeof file?.path === "string" && typeof file.sizeBytes === "number" && typeof file.sha256 === "string";
  const lists = [record.inputs, record.outputs, record.steps, record.starts];
  const isWhole = lists.every(Array.isArray) && [...record.inputs!, ...record.outputs!].every(isFile) &&
    record.steps!.every((step) =>
      typeof step?.name === "string" && Array.isArray(step.product) && step.product.every(isFile)
    ) &&
    record.starts!.every((start) => typeof start?.machine === "object" && start.machine !== null) &&
    typeof record.workingFolder === "string" && typeof record.folder === "string" && isStarted(record.started);
  if (!isWhole) throw fail("a part of it is missing or of another kind");
  return record as RunRecord;
}

function isStarted(started: Partial<Started> | null | undefined): boolean {
  return started === null || (typeof started?.script === "string" && Array.isArray(started.args) &&
    started.args.every((word) => typeof word === "string") && typeof started.folders === "object" &&
    Object.values(Object(started.folders)).every((folder) => typeof folder === "string"));
}

/** A path as it is written: from the working folder, where it lies in there. */
function shortPath(path: string): string {
  const short = relative(process.cwd(), resolve(path));
  const isInside = short !== "" && short !== ".." && !short.startsWith(`..${sep}`) && resolve(short) === resolve(path);
  return (isInside ? short : resolve(path)).split(sep).join("/");
}

function uniqueByPath<Record extends { readonly path: string }>(records: readonly Record[]): Record[] {
  return [...new Map(records.map((record) => [record.path, record])).values()];
}

/** A file, or the files in a folder, by absolute paths; none where nothing is left. */
async function filesAt(path: string): Promise<FileRecord[]> {
  const found = await stat(path).catch((error) => {
    if (error.code === "ENOENT") return null;
    throw error;
  });
  if (!found) return [];
  if (!found.isDirectory()) return [{ ...await recordFile(path, path), path }];
  return (await recordFolder(path)).map((file) => ({ ...file, path: join(path, file.path) }));
}
