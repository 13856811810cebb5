import { basename, isAbsolute, join, relative, resolve, sep } from "node:path";
import { type FileRecord, hashFile, hashJson, type RunRecord } from "../../pipeline/mod.ts";
import { differenceOf } from "./compare_files.ts";

/** How a file that a run made compares with its repetition's. */
export interface ComparedFile {
  /** From the output folder; times in its name are `<time>`. Files of the run's own folder begin with `run/`. */
  readonly name: string;
  readonly verdict: "equal" | "times" | "differs" | "missing" | "new" | "not compared";
  /** What differs, or why it is not compared; empty for files that are bit-equal. */
  readonly what: string;
}

/** A file of a run, by the name that its repetition has for it, too. */
interface NamedFile extends FileRecord {
  /** Where it lies, absolute. */
  readonly place: string;
  readonly isPassing: boolean;
}

const elsewhere =
  "it lies outside of the output folder, where the repetition writes as well: only bytes that are the same could be told";
const askedFor = "the first run alone has it, saved when somebody asked for it, or before it went on";

/** Compares what a run left with what its repetition left, file by file: products of steps, and files made for the user. */
export async function compareRuns(before: RunRecord, after: RunRecord): Promise<ComparedFile[]> {
  const [one, other] = [namedFiles(before), namedFiles(after)], compared: ComparedFile[] = [];
  for (const [name, file] of one.files) {
    const again = other.files.get(name), reason = holdsTimes(name);
    if (reason !== null) compared.push({ name, verdict: "not compared", what: reason });
    else if (!again && file.isPassing) compared.push({ name, verdict: "not compared", what: askedFor });
    else if (!again) compared.push({ name, verdict: "missing", what: "the repetition has no such file" });
    else compared.push({ name, ...await comparedTo(file, again) });
  }
  for (const name of other.files.keys()) {
    if (!one.files.has(name) && holdsTimes(name) === null) {
      compared.push({ name, verdict: "new", what: "the first run has no such file" });
    }
  }
  for (const { path, sha256 } of one.elsewhere) {
    const isEqual = other.elsewhere.some((again) => again.path === path && again.sha256 === sha256);
    compared.push({
      name: path,
      ...isEqual ? { verdict: "equal", what: "" } : { verdict: "not compared", what: elsewhere },
    });
  }
  return compared;
}

async function comparedTo(file: NamedFile, again: NamedFile): Promise<Pick<ComparedFile, "verdict" | "what">> {
  if (file.sha256 === again.sha256) return { verdict: "equal", what: "" };
  const now = await hashFile(file.place).catch((error) => {
    if (error.code === "ENOENT") return null;
    throw error;
  });
  if (now !== file.sha256) {
    const problem = now === null ? "is gone" : "was changed since";
    return {
      verdict: "differs",
      what: `its hash is another; the first run's file ${problem}, so what differs cannot be told`,
    };
  }
  return await differenceOf(file.place, again.place);
}

/** Why a file differs in every run; null for all others. */
function holdsTimes(name: string): string | null {
  if (/^events\.out\.tfevents/.test(basename(name))) return "TensorBoard's events have times in them";
  return name.endsWith(".html") ? "a page that shows times; its data are compared" : null;
}

function namedFiles({ started, workingFolder, folder, outputs, steps }: RunRecord) {
  const files = new Map<string, NamedFile>(), elsewhere: FileRecord[] = [];
  const folders = Object.entries(started?.folders ?? {}).map(([flag, path]) => [flag, resolve(workingFolder, path)]);
  for (const file of outputs) {
    const place = resolve(workingFolder, file.path);
    const found = folders.find(([, folder]) => isInside(place, folder));
    if (!found) elsewhere.push(file);
    else {
      const [flag, folder] = found, name = relative(folder, place).split(sep).join("/");
      files.set(timeless(flag === "output_dir" ? name : `${flag}/${name}`), { ...file, place });
    }
  }
  for (const file of steps.flatMap(({ product }) => product)) {
    files.set(`run/${file.path}`, {
      ...file,
      place: join(resolve(workingFolder, folder), file.path),
      isPassing: false,
    });
  }
  return { files, elsewhere };
}

/** A name with its times taken out: pictures and logs of training have them. */
function timeless(name: string): string {
  return name.replace(/(?<!\d)\d{14}(?!\d)/g, "<time>");
}

/** Whether a path lies in a folder. */
export function isInside(path: string, folder: string): boolean {
  const inside = relative(folder, path);
  return inside !== "" && inside !== ".." && !inside.startsWith(`..${sep}`) && !isAbsolute(inside);
}

/** Whether a repetition did what the first run did: all files that can be are bit-equal, but for times, and there are such. */
export function areEqual(compared: readonly ComparedFile[]): boolean {
  const found = compared.filter(({ verdict }) => verdict !== "not compared");
  return found.length > 0 && found.every(({ verdict }) => verdict === "equal" || verdict === "times");
}

/** An input that is not what it was, as a sentence. */
export async function changedInputs({ inputs, workingFolder }: RunRecord): Promise<string[]> {
  const changed: string[] = [];
  for (const { path, sha256, of } of inputs) {
    const now = await hashFile(resolve(workingFolder, path)).catch((error) => {
      if (error.code === "ENOENT") return null;
      throw error;
    });
    if (now === sha256) continue;
    const reader = of === "start" ? "the start" : `the step '${of}'`;
    changed.push(
      now === null
        ? `${path}, which ${reader} read, is gone`
        : `${path}, which ${reader} read, was ${short(sha256)}, is ${short(now)}`,
    );
  }
  return changed;
}

function short(hash: string): string {
  return `sha256 ${hash.slice(0, 12)}…`;
}

/** What of the machine is not what it was, as sentences: with that, the bits may be others. */
export function changedMachine({ starts }: RunRecord, now: { readonly [name: string]: unknown }): string[] {
  const names = new Set(starts.flatMap(({ machine }) => Object.keys(machine))), changed: string[] = [];
  for (const name of names) {
    if (!(name in now)) continue;
    const was = [...new Set(starts.flatMap(({ machine }) => name in machine ? [wordOf(machine[name])] : []))];
    if (was.length > 1) changed.push(`${name} was not the same in all starts of the first run: ${was.join("; ")}`);
    else if (was[0] !== wordOf(now[name])) changed.push(`${name} was ${was[0]}, is ${wordOf(now[name])}`);
  }
  return changed;
}

function wordOf(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}

/** Steps that took other things from outside that are no files, such as another revision of a model on the hub. */
export function changedSources(before: RunRecord, after: RunRecord): string[] {
  return before.steps.filter(({ name, needs, fingerprint }) => {
    const again = after.steps.find((step) => step.name === name);
    return again && Object.keys(needs).length === 0 && hashJson(again.fingerprint) !== hashJson(fingerprint);
  }).map(({ name }) => `the step '${name}' read something else from outside`);
}

/** A comparison for people: what is not equal by name, the rest by number; last of all the outcome, with how many files it is about. */
export function comparisonText(compared: readonly ComparedFile[]): string {
  const of = (verdict: ComparedFile["verdict"]) => compared.filter((file) => file.verdict === verdict);
  const list = (verdict: ComparedFile["verdict"], title: string) =>
    of(verdict).length === 0 ? [] : [`${title}:`, ...of(verdict).map(({ name, what }) => `  ${name}: ${what}`)];
  const left = of("not compared").length, count = compared.length - left;
  const but = left === 0 ? "" : `; ${left} ${left === 1 ? "was" : "were"} not compared`;
  const outcome = count === 0
    ? "No output could be compared"
    : areEqual(compared)
    ? `The outputs are bit-equal${of("times").length > 0 ? ", but for times" : ""}: ${files(count)} compared${but}`
    : `The outputs are not bit-equal: ${files(count)} compared${but}`;
  return [
    `Bit-equal: ${files(of("equal").length)}`,
    ...list("times", "Equal but for times"),
    ...list("not compared", "Not compared"),
    ...list("missing", "Missing"),
    ...list("new", "New"),
    ...list("differs", "Different"),
    outcome,
  ].join("\n");
}

function files(count: number): string {
  return count === 1 ? "1 file" : `${count} files`;
}
