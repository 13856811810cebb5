import { mkdir, readdir, rename } from "node:fs/promises";
import { join } from "node:path";
import { textIfThere } from "../outputs/text_file.ts";
import type { Cell } from "./cell.ts";
import { judged } from "./table.ts";

/** What `writeResults` makes. The last one is what results are known by: where moving them is stopped, the next start moves the rest. */
const names = ["results.md", "best.png", ...Object.keys(judged).map((figure) => `${figure}.svg`), "results.json"];

const folderName = /^earlier-results-(\d+)$/;

/**
 * Moves the results in a comparison's folder into `earlier-results-<number>/` there if they are of cells that the next ones will not have: of other seeds, ways or data.
 *
 * @param cells Those that are finished, of the ones that are asked for.
 * @returns Where they are now; null if nothing was moved.
 * @throws {SyntaxError} If `results.json` is no JSON.
 */
export async function keepEarlierResults(folder: string, cells: readonly Cell[]): Promise<string | null> {
  const path = join(folder, "results.json"), text = await textIfThere(path);
  if (text === null) return null;
  const isKept = ({ variant, seed, settings }: Cell) =>
    cells.some((cell) => cell.variant === variant && cell.seed === seed && cell.settings === settings);
  if (readCells(path, text).every(isKept)) return null;
  const found = await readdir(folder);
  const earlier = found.flatMap((name) => Number(folderName.exec(name)?.[1] ?? []));
  const place = join(folder, `earlier-results-${Math.max(0, ...earlier) + 1}`);
  await mkdir(place);
  for (const name of names.filter((name) => found.includes(name))) await rename(join(folder, name), join(place, name));
  return place;
}

function readCells(path: string, text: string): readonly Cell[] {
  try {
    return JSON.parse(text).cells;
  } catch (cause) {
    throw new SyntaxError(`Cannot read ${path}: it is no JSON; delete it, and it is written anew`, { cause });
  }
}
