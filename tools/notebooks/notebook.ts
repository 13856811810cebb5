import { readdir, readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";

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

/** Figures that are not the recorded ones, as sentences; the distance that counts is the one that the notebook names now. */
export function differingFigures(
  found: ReadonlyMap<string, Figure>,
  recorded: Readonly<Record<string, number>>,
): string[] {
  const names = new Set([...found.keys(), ...Object.keys(recorded)]);
  return [...names].flatMap((name) => {
    const figure = found.get(name), before = Object.hasOwn(recorded, name) ? recorded[name] : undefined;
    if (!figure) return [`${name} is recorded, and was not shown`];
    if (before === undefined) return [`${name} is ${figure.value}, and was never recorded`];
    // A NaN is near nothing.
    return Math.abs(figure.value - before) <= figure.within
      ? []
      : [`${name} is ${figure.value}, was recorded as ${before}: further apart than ${figure.within}`];
  });
}
