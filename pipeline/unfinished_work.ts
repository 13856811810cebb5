import { readdir, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { makeFolder } from "../formats/write_errors.ts";
import { syncFolder, writeFileAtomically } from "../formats/atomic_file.ts";
import { isMissing } from "../formats/plain_file.ts";
import { isBeingReplaced } from "../formats/atomic_folder.ts";
import { canonicalJson, hashJson } from "./hash.ts";
import type { EarlierStart } from "./step.ts";
import type { StepInputs } from "./step_folder.ts";

/** What `started.json` holds. */
interface StartedWork {
  /** What the work belongs to; of the options those that decide it. */
  readonly inputs: StepInputs;
  /** All options of the last start. */
  readonly options: unknown;
}

/** How folders begin that hold work with other inputs than the last start's. */
const asidePrefix = "set-aside-";

/**
 * What a step has not finished: `work/`, its own folder for checkpoints; `started.json`, which says what it belongs to; and at most one
 * `set-aside-…/` with both of them, where the step was started again with other inputs in between.
 */
export class UnfinishedWork {
  readonly folder: string;
  readonly #started: string;

  /** @param parent The step's folder. */
  constructor(private readonly parent: string) {
    this.folder = join(parent, "work");
    this.#started = join(parent, "started.json");
  }

  /** The start that work for these options is from, be it set aside; undefined if there is no such work. */
  async earlier(workOptions: unknown): Promise<EarlierStart | undefined> {
    const wanted = canonicalJson(workOptions, "workOptions");
    for (const folder of [this.parent, ...await this.#asides()]) {
      const started = await readStarted(folder);
      if (started === undefined || canonicalJson(started.inputs.options, "options") !== wanted) continue;
      if (await hasContent(join(folder, "work"))) {
        return { options: started.options, fingerprint: started.inputs.fingerprint };
      }
    }
    return undefined;
  }

  /**
   * Makes the folder ready: with the work that belongs to the inputs, if there is any. Work that belongs to others is set aside, in the place of what
   * was set aside before.
   *
   * @param inputs With the options that decide the work.
   * @param options All of them.
   * @returns Whether there is work to go on with, and what became of other work, as sentences.
   */
  async begin(inputs: StepInputs, options: unknown): Promise<{ resumes: boolean; notes: string[] }> {
    const before = await readStarted(this.parent), own = join(this.parent, asideName(inputs));
    const notes: string[] = [];
    await makeFolder(this.parent);
    const isOther = before === undefined || canonicalJson(before.inputs, "inputs") !== canonicalJson(inputs, "inputs");
    if (isOther && await hasContent(this.folder)) notes.push(await this.#setAside(before, inputs, own));
    if (isOther) await rm(this.folder, { recursive: true, force: true });
    const text = startedText({ inputs, options });
    // Behind what was set aside, and before what is taken up: stopped anywhere in between, the next start finds both.
    if (before === undefined || startedText(before) !== text) await writeText(this.#started, text);
    if (!await hasContent(this.folder) && await hasContent(join(own, "work"))) {
      await rm(this.folder, { recursive: true, force: true });
      await rename(join(own, "work"), this.folder);
      await syncFolder(this.parent);
      notes.push("goes on with the work that was set aside");
    }
    await rm(own, { recursive: true, force: true });
    await makeFolder(this.folder);
    return { resumes: await hasContent(this.folder), notes };
  }

  /** The step is finished: its work goes. What was set aside stays. */
  async finish(): Promise<void> {
    await rm(this.folder, { recursive: true, force: true });
  }

  /**
   * Sets work aside that belongs to other inputs.
   *
   * @param kept Set aside as well, and not to be removed: it is wanted now.
   */
  async #setAside(before: StartedWork | undefined, inputs: StepInputs, kept: string): Promise<string> {
    const aside = join(this.parent, asideName(before?.inputs ?? null));
    await rm(aside, { recursive: true, force: true });
    await makeFolder(aside);
    if (before) await writeText(join(aside, "started.json"), startedText(before));
    await rename(this.folder, join(aside, "work"));
    await syncFolder(aside);
    const lost: string[] = [];
    for (const folder of (await this.#asides()).filter((folder) => folder !== kept && folder !== aside)) {
      if (await hasContent(join(folder, "work"))) lost.push(folder);
      await rm(folder, { recursive: true });
    }
    const why = before ? changesText(before.inputs, inputs) : "what it belongs to is not known";
    return `other unfinished work is set aside: ${why}. It lies in ${aside}` +
      (before ? "; started as before, the step goes on with it" : "") +
      (lost.length ? `. What was set aside earlier, in ${lost.join(", ")}, is removed: one is kept` : "");
  }

  async #asides(): Promise<string[]> {
    const names = await readdir(this.parent).catch(noneIfMissing);
    return names.filter((name) => name.startsWith(asidePrefix)).sort().map((name) => join(this.parent, name));
  }
}

function asideName(inputs: StepInputs | null): string {
  return `${asidePrefix}${hashJson(inputs).slice(0, 12)}`;
}

/** What differs, with what it was and is where that is short. */
function changesText(before: StepInputs, now: StepInputs): string {
  const [was, is] = [before, now].map((inputs) => flat({ options: inputs.options, ...inputs.needs }));
  const found = [...new Set([...was.keys(), ...is.keys()])].filter((name) => was.get(name) !== is.get(name));
  const texts = found.map((name) => {
    // A thing that the step needs is known by its hash, which says nothing to a reader.
    if (!name.startsWith("options.")) return `'${name}' changed`;
    const [a, b] = [was, is].map((values) => values.get(name) ?? "left out");
    return a.length + b.length > 120 ? `${name} changed` : `${name} was ${a}, now it is ${b}`;
  });
  if (texts.length > 0) return texts.join("; ");
  const isOutside = hashJson(before.fingerprint) !== hashJson(now.fingerprint);
  return isOutside ? "what it reads from outside changed" : "the step is another";
}

/** JSON of the members of plain data, by their paths. */
function flat(value: unknown, name = ""): Map<string, string> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    return new Map([[name, JSON.stringify(value)]]);
  }
  return new Map(
    Object.entries(value).flatMap(([key, member]) => [...flat(member, name === "" ? key : `${name}.${key}`)]),
  );
}

function startedText({ inputs, options }: StartedWork): string {
  return canonicalJson({ inputs, options }, "started") + "\n";
}

/** Reads with care: it may come from another version, or be damaged. */
async function readStarted(folder: string): Promise<StartedWork | undefined> {
  const text = await readFile(join(folder, "started.json"), "utf8").catch((error) => {
    if (!isMissing(error)) throw error;
  });
  try {
    const found = JSON.parse(text ?? "null"), needs = found?.inputs?.needs;
    return typeof needs === "object" && needs !== null ? { inputs: found.inputs, options: found.options } : undefined;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

/** Whether there is anything in a folder but what was hidden while it was written or removed. What was just being replaced is there: its name comes back. */
async function hasContent(folder: string): Promise<boolean> {
  const names = await readdir(folder).catch(noneIfMissing);
  return names.some((name) => !name.startsWith(".") || isBeingReplaced(name));
}

function noneIfMissing(error: NodeJS.ErrnoException): string[] {
  if (!isMissing(error)) throw error;
  return [];
}

/** Writes a file of text, whole or not at all. */
export async function writeText(path: string, text: string): Promise<void> {
  await writeFileAtomically(path, [new TextEncoder().encode(text)]);
}
