import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { writeFileAtomically } from "../../formats/atomic_file.ts";
import { writeTextFile } from "../outputs/text_file.ts";
import { drawGrid } from "../report/grid.ts";
import { type Cell, readCellPictures } from "./cell.ts";
import { comparisonPlots } from "./plots.ts";
import { columns } from "./recipes.ts";
import { comparisonRows, tableText } from "./table.ts";
import { type ComparisonOptions, variantFolder } from "./variant.ts";

/**
 * Writes what the cells so far say: `results.json` (all cells and the table's rows), `results.md` (the table), plots as `<figure>.svg`, and `best.png`, of each variant the
 * stack of its best seed.
 */
export async function writeResults(options: ComparisonOptions, cells: readonly Cell[]): Promise<void> {
  const { folder, variants } = options, rows = comparisonRows(variants, cells);
  const json = { variants, seeds: options.seeds, cells, rows };
  await writeTextFile(join(folder, "results.json"), JSON.stringify(json, null, 2) + "\n");
  await writeTextFile(join(folder, "results.md"), tableText(rows) + "\n");
  for (const { name, svg } of await comparisonPlots(rows)) await writeFile(join(folder, `${name}.svg`), svg);
  await writeFileAtomically(join(folder, "best.png"), [Uint8Array.from(await drawBest(options, cells))]);
}

/** The better the higher: what is left in the stack of the concepts that can be read off it, or how well changes add up. */
function scoreOf({ figures }: Cell): number {
  const { identity_stack: identity, outfit_stack: outfit, additivity } = figures;
  const left = [identity, outfit].filter((figure) => figure !== undefined);
  return left.length === 0 ? -additivity : Math.min(...left);
}

async function drawBest({ folder, variants, pictures: { rows } }: ComparisonOptions, cells: readonly Cell[]) {
  const shown = [];
  for (const variant of variants) {
    const own = cells.filter((cell) => cell.variant === variant.name);
    if (own.length === 0) continue;
    const best = own.reduce((found, cell) => scoreOf(cell) > scoreOf(found) ? cell : found);
    const sheet = await readCellPictures(join(folder, "cells", variantFolder(variant), `seed-${best.seed}`));
    const { pictures } = sheet.columns.find(({ name }) => name === columns.stack)!;
    shown.push({ label: variant.name, sublabel: `seed ${best.seed}`, pictures });
  }
  return await drawGrid({
    title: "The stack, of each variant the best seed",
    columns: rows.map(({ text, seed }) => text ? { label: text, sublabel: `seed ${seed}` } : { label: `seed ${seed}` }),
    rows: shown.map(({ label, sublabel }) => ({ label, sublabel })),
    cells: shown.map(({ pictures }) => pictures),
  });
}
