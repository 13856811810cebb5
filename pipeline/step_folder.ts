import { open, readdir, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { makeFolder, tellingWriteErrors } from "../formats/write_errors.ts";
import { syncFile } from "../formats/atomic_file.ts";
import { removeLeftovers } from "../formats/atomic_folder.ts";
import { canonicalJson, type FileRecord, findDamage, hashJson, recordFile, recordFolder } from "./hash.ts";
import { type EarlierStart, folderWord, type Step } from "./step.ts";
import { isMissing } from "../formats/plain_file.ts";
import { UnfinishedWork, writeText } from "./unfinished_work.ts";

/** Everything that decides what a step makes. Plain data, so that a manifest can tell later what changed. */
export interface StepInputs {
  readonly step: string;
  readonly version: string;
  readonly options: unknown;
  readonly fingerprint: unknown;
  /** Hash of the product that each needed thing comes from, by the thing's name. */
  readonly needs: { readonly [name: string]: string };
  readonly gives: readonly string[];
  readonly stored: boolean;
}

/** What a finished step leaves in `manifest.json`. */
export interface Manifest {
  readonly format: "pipeline-step-1";
  readonly inputs: StepInputs;
  /** Files of the product, relative to `product/`. */
  readonly files: readonly FileRecord[];
  /** Files made for the user, relative to the step's folder. */
  readonly artifacts: readonly FileRecord[];
  readonly seconds: number;
}

/**
 * A step's place on disk: `steps/NN-name/` in the run folder.
 *
 * `product/` what it made · `manifest.json` written last: without it the product does not count · what `UnfinishedWork` has.
 */
export class StepFolder {
  readonly path: string;
  readonly product: string;
  /** The step's own folder for checkpoints. */
  readonly work: string;
  readonly #work: UnfinishedWork;
  readonly #manifest: string;
  readonly #unfinished: string;

  constructor(path: string) {
    this.path = path;
    this.product = join(path, "product");
    this.#work = new UnfinishedWork(path);
    this.work = this.#work.folder;
    this.#manifest = join(path, "manifest.json");
    this.#unfinished = join(path, "product.new");
  }

  /** The manifest, if the step was finished and its files are whole; else what is damaged, if anything is. */
  async read(): Promise<{ manifest?: Manifest; damage?: string }> {
    const text = await readIfThere(this.#manifest);
    if (text === undefined) {
      const names = await namesIn(this.path);
      const halfWritten = names.find((name) => name.startsWith("product"));
      return halfWritten ? { damage: `${join(this.path, halfWritten)} was not written to its end` } : {};
    }
    const manifest = parseManifest(text);
    if (manifest === undefined) return { damage: `${this.#manifest} is not a manifest that this version can read` };
    const damage = await findDamage(manifest.files, this.product) ?? await findDamage(manifest.artifacts, this.path);
    return damage === undefined ? { manifest } : { damage };
  }

  /** A start of the same step before, whose work is there and not finished, or whose product is there. */
  async earlier({ options, workOptions }: Pick<Step, "options" | "workOptions">): Promise<EarlierStart | undefined> {
    const unfinished = await this.#work.earlier(workOptions);
    if (unfinished) return unfinished;
    const text = await readIfThere(this.#manifest),
      inputs = text === undefined ? undefined : parseManifest(text)?.inputs;
    if (inputs === undefined || canonicalJson(inputs.options ?? null, "") !== canonicalJson(options, "")) {
      return undefined;
    }
    return { options: inputs.options, fingerprint: inputs.fingerprint };
  }

  /**
   * Makes `work/` ready, as {@link UnfinishedWork.begin} says.
   *
   * @param workOptions What of the options decides the work.
   */
  async begin(inputs: StepInputs, workOptions: unknown): Promise<{ resumes: boolean; notes: string[] }> {
    const begun = await this.#work.begin({ ...inputs, options: workOptions }, inputs.options);
    await removeLeftovers(this.path, () => true);
    return begun;
  }

  /**
   * Writes a product and then its manifest. Until all new files are on disk, the old product stays as it was.
   *
   * @param options.save Writes the product's files into the folder it is given; absent for a step without a store.
   * @param options.artifacts Paths of files made for the user; those that are gone by now are not recorded.
   */
  async commit(
    options: {
      inputs: StepInputs;
      artifacts: Iterable<string>;
      seconds: number;
      save?: (folder: string) => void | Promise<void>;
    },
  ): Promise<Manifest> {
    await rm(this.#unfinished, { recursive: true, force: true });
    let files: FileRecord[] = [];
    if (options.save) {
      await makeFolder(this.#unfinished);
      await options.save(this.#unfinished);
      files = await recordFolder(this.#unfinished);
      for (const file of files) await syncFile(join(this.#unfinished, file.path));
    }
    const artifacts: FileRecord[] = [];
    for (const path of new Set(options.artifacts)) {
      if (await readable(path)) artifacts.push(await recordFile(path, this.path));
    }
    const { inputs, seconds } = options;
    const manifest: Manifest = { format: "pipeline-step-1", inputs, files, artifacts, seconds };
    // Stopped between here and the end, the old manifest does not fit the new files, and the step counts as damaged.
    await rm(this.product, { recursive: true, force: true });
    if (options.save) await rename(this.#unfinished, this.product);
    await writeText(this.#manifest, JSON.stringify(manifest, undefined, 2) + "\n");
    // Last: a run that is stopped before goes on from what is in there.
    await this.#work.finish();
    return manifest;
  }
}

/** Hash that later steps see: of the files if there are any, so that an equal product counts as the same; else of the inputs. */
export function productHash(manifest: Manifest): string {
  return manifest.inputs.stored ? hashJson(manifest.files) : hashJson(manifest.inputs);
}

/** What differs between the inputs of an earlier run and now, as a reason to run again; `undefined` if nothing does. */
export function changedInput(before: StepInputs, now: StepInputs): string | undefined {
  const differs = (a: unknown, b: unknown) => canonicalJson(a ?? null, "inputs") !== canonicalJson(b ?? null, "inputs");
  if (!differs(before, now)) return undefined;
  for (const name of Object.keys(now.needs)) {
    if (differs(before.needs[name], now.needs[name])) return `'${name}' changed`;
  }
  const [oldOptions, newOptions] = [before.options, now.options].map((options) => Object(options));
  for (const name of new Set([...Object.keys(oldOptions), ...Object.keys(newOptions)])) {
    if (differs(oldOptions[name], newOptions[name])) return `options.${name} changed`;
  }
  if (differs(before.fingerprint, now.fingerprint)) return "what it reads from outside changed";
  if (differs(before.version, now.version)) return "the step's code changed";
  return "what it needs or gives changed";
}

/**
 * Finds or names the folder of each step under `<run folder>/steps/`.
 *
 * A step is recognised by its name, not its number. Steps of the same name are told apart by their order.
 *
 * @param options.renumber Whether a folder is renamed if a step was put in before it.
 */
export async function findStepFolders(
  runFolder: string,
  stepNames: readonly string[],
  { renumber }: { renumber: boolean },
): Promise<StepFolder[]> {
  const parent = join(runFolder, "steps");
  // What may be wrong with the run's folder shows here first.
  const there = new Set(await tellingWriteErrors(runFolder, () => null, () => namesIn(parent)));
  const used = new Set<string>();
  const folders: StepFolder[] = [];
  for (const [index, name] of stepNames.entries()) {
    let word = folderWord(name);
    for (let n = 2; used.has(word); n++) word = `${folderWord(name)}-${n}`;
    used.add(word);
    const wanted = `${String(index + 1).padStart(2, "0")}-${word}`;
    const found = [...there].find((entry) => entry.replace(/^\d+-/, "") === word && /^\d+-/.test(entry));
    const isElsewhere = found !== undefined && !there.has(wanted);
    if (isElsewhere && renumber) await rename(join(parent, found), join(parent, wanted));
    folders.push(new StepFolder(join(parent, isElsewhere && !renumber ? found : wanted)));
  }
  return folders;
}

/** Reads a manifest with care: it may come from another version or have been cut short. */
function parseManifest(text: string): Manifest | undefined {
  let manifest: Manifest;
  try {
    manifest = JSON.parse(text);
  } catch {
    return undefined;
  }
  const isRecord = (file: FileRecord) =>
    typeof file?.path === "string" && typeof file.sizeBytes === "number" && typeof file.sha256 === "string";
  const whole = manifest?.format === "pipeline-step-1" && typeof manifest.inputs?.needs === "object" &&
    Array.isArray(manifest.files) && manifest.files.every(isRecord) &&
    Array.isArray(manifest.artifacts) && manifest.artifacts.every(isRecord);
  return whole ? manifest : undefined;
}

async function readIfThere(path: string): Promise<string | undefined> {
  return await readFile(path, "utf8").catch(undefinedIfMissing);
}

async function namesIn(folder: string): Promise<string[]> {
  return await readdir(folder).catch(undefinedIfMissing) ?? [];
}

async function readable(path: string): Promise<boolean> {
  const handle = await open(path, "r").catch(undefinedIfMissing);
  await handle?.close();
  return handle !== undefined;
}

function undefinedIfMissing(error: NodeJS.ErrnoException): undefined {
  if (!isMissing(error)) throw error;
}
