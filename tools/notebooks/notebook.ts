import { readdir, readFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { isDeepStrictEqual } from "node:util";
import { readRunRecord, runRecordName } from "../../pipeline/mod.ts";

/** A cell's output as a notebook keeps it. */
export interface CellOutput {
  readonly output_type: string;
  readonly data?: { readonly [mime: string]: string | readonly string[] | object };
}

/** A notebook as far as it is looked at here. */
export interface Notebook {
  readonly cells: readonly {
    readonly cell_type: string;
    readonly source: string | readonly string[];
    readonly outputs?: readonly CellOutput[];
  }[];
}

/** A figure that a notebook shows, and how far another run's may be from it. */
export interface Figure {
  readonly value: number;
  readonly within: number;
}

/** Where the notebooks are. */
export const notebooksFolder = fileURLToPath(new URL("../../examples/notebooks/", import.meta.url));

/** Names of the notebooks, without the ending, in their order. */
export async function notebookNames(): Promise<string[]> {
  return (await readdir(notebooksFolder)).filter((name) => name.endsWith(".ipynb")).map((name) => name.slice(0, -6))
    .sort();
}

/** Reads a notebook by its name. */
export async function readNotebook(name: string): Promise<Notebook> {
  return JSON.parse(await readFile(`${notebooksFolder}${name}.ipynb`, "utf8"));
}

/** Text that a notebook keeps whole, or in lines. */
export function textOf(text: unknown): string {
  return Array.isArray(text) ? text.join("") : String(text);
}

/**
 * The code of a notebook as one module, for a process without Jupyter and for the type checker: cells one after another, as they are run. Imports of files lead
 * to where they lie, so that the module may be anywhere.
 */
export function moduleOf({ cells }: Notebook): string {
  const folder = new URL("../../examples/notebooks/", import.meta.url);
  return cells.filter(({ cell_type }) => cell_type === "code").map(({ source }) => textOf(source)).join("\n\n")
    .replace(/(?<=^import [^"]* from ")\.[^"]*(?=")/gm, (path) => new URL(path, folder).href);
}

/** Figures in printed text, by their names: lines `figure <name> = <value> ± <distance>`. */
export function figuresIn(text: string): Map<string, Figure> {
  const lines = [...text.matchAll(/^figure (.+) = (\S+) ± (\S+)$/gm)];
  return new Map(lines.map(([, name, value, within]) => [name, { value: Number(value), within: Number(within) }]));
}

/** Figures that an executed notebook shows. */
export function figuresOf({ cells }: Notebook): Map<string, Figure> {
  const texts = cells.flatMap(({ outputs = [] }) => outputs.map(({ data }) => textOf(data?.["text/plain"] ?? "")));
  return figuresIn(texts.join("\n"));
}

/** What of a machine decides the bits, as runs record it: versions, adapter, driver. */
export type Machine = Readonly<Record<string, unknown>>;

/** Figures that were found once, and on what machine. */
export interface RecordedFigures {
  readonly machine: Machine;
  readonly figures: Readonly<Record<string, number>>;
}

/**
 * The machine that a notebook's runs ran on, by their records.
 *
 * @param folder What the notebook wrote; runs may lie anywhere in it.
 * @throws {Error} If there is no record, or they are of several machines.
 */
export async function machineOfRuns(folder: string): Promise<Machine> {
  const paths = (await readdir(folder, { recursive: true })).filter((path) => basename(path) === runRecordName);
  if (paths.length === 0) throw new Error(`No run in ${folder} says what machine it ran on: there is no run.json`);
  const machine: Record<string, unknown> = {};
  for (const path of paths) {
    for (const start of (await readRunRecord(join(folder, path))).starts) {
      for (const [name, fact] of Object.entries(start.machine)) {
        if (Object.hasOwn(machine, name) && !isDeepStrictEqual(machine[name], fact)) {
          throw new Error(`The runs in ${folder} ran on several machines: ${changeText(name, machine[name], fact)}`);
        }
        machine[name] = fact;
      }
    }
  }
  return machine;
}

/** Why equal bits cannot be asked of a machine, by what figures were recorded on; empty where they can. */
export function whyNotSameBits(recorded: Machine, now: Machine): string[] {
  const names = new Set([...Object.keys(recorded), ...Object.keys(now)]);
  const changed = [...names].filter((name) => !isDeepStrictEqual(recorded[name], now[name]))
    .map((name) => changeText(name, recorded[name], now[name]));
  return changed.length === 0 && typeof now.driver !== "string" ? ["the driver's version is not known"] : changed;
}

function changeText(name: string, before: unknown, now: unknown): string {
  const [was, is] = [before, now].map((value) => typeof value === "string" ? value : JSON.stringify(value));
  return `${name} was ${was}, is ${is}`;
}

/**
 * Figures that are not the recorded ones, as sentences. On the machine that they were recorded on they have to be equal to the last bit; on another one the distance
 * counts that the notebook names now.
 */
export function differingFigures(
  found: ReadonlyMap<string, Figure>,
  recorded: RecordedFigures["figures"],
  isSameMachine: boolean,
): string[] {
  const names = new Set([...found.keys(), ...Object.keys(recorded)]);
  return [...names].flatMap((name) => {
    const figure = found.get(name), before = Object.hasOwn(recorded, name) ? recorded[name] : undefined;
    if (!figure) return [`${name} is recorded, and was not shown`];
    if (before === undefined) return [`${name} is ${figure.value}, and was never recorded`];
    const within = isSameMachine ? 0 : figure.within;
    // A NaN is near nothing.
    if (Math.abs(figure.value - before) <= within) return [];
    const problem = isSameMachine ? "the same machine has to give the same bits" : `further apart than ${within}`;
    return [`${name} is ${figure.value}, was recorded as ${before}: ${problem}`];
  });
}
