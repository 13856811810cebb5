import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { writeFileAtomically } from "../../formats/atomic_file.ts";
import { writeTextFile } from "../outputs/text_file.ts";
import { drawGrid } from "../report/grid.ts";
import { type Cell, readCellPictures } from "./cell.ts";
import { cellFolder } from "./folders.ts";
import { comparisonPlots } from "./plots.ts";
import { columns } from "./recipes.ts";
import { comparisonRows, tableText } from "./table.ts";
import type { ComparisonOptions } from "./variant.ts";

/**
 * Writes what the cells so far say: `results.json` (all cells and the table's rows), `results.md` (the table, and what has to be known to read it), plots as
 * `<figure>.svg`, and `best.png`, of each variant the stack of its best seed.
 */
export async function writeResults(options: ComparisonOptions, cells: readonly Cell[]): Promise<void> {
  const { folder, variants } = options, rows = comparisonRows(variants, cells);
  const json = { variants, seeds: options.seeds, cells, rows };
  await writeTextFile(join(folder, "results.json"), JSON.stringify(json, null, 2) + "\n");
  const note = cells.some(showsRetention) ? "" : `\n${additivityNote}\n`;
  await writeTextFile(join(folder, "results.md"), `${tableText(rows)}\n${note}`);
  for (const { name, svg } of await comparisonPlots(rows)) await writeFile(join(folder, `${name}.svg`), svg);
  await writeFileAtomically(join(folder, "best.png"), [Uint8Array.from(await drawBest(options, cells))]);
}

/** What is to be known of a comparison in which nothing is read off the pictures. */
const additivityNote =
  "The additivity error falls where a network learns less: without any change there is nothing to add up. Read it beside the mean squares " +
  "of what each network changes of a prediction. `best.png` shows of each variant the seed with the smallest error.";

/** What of the concepts is left in the stack, where it can be read off it. */
function leftInStack({ figures: { identity_stack: identity, outfit_stack: outfit } }: Cell): number[] {
  return [identity, outfit].filter((figure) => figure !== undefined);
}

function showsRetention(cell: Cell): boolean {
  return leftInStack(cell).length > 0;
}

/** The better the higher: what is left in the stack of the concept that has lost more, or how well changes add up. */
function scoreOf(cell: Cell): number {
  return showsRetention(cell) ? Math.min(...leftInStack(cell)) : -cell.figures.additivity;
}

async function drawBest(options: ComparisonOptions, cells: readonly Cell[]) {
  const { variants, pictures: { rows } } = options, shown = [];
  for (const variant of variants) {
    const own = cells.filter((cell) => cell.variant === variant.name);
    if (own.length === 0) continue;
    const best = own.reduce((found, cell) => scoreOf(cell) > scoreOf(found) ? cell : found);
    const sheet = await readCellPictures(cellFolder(options, variant, best.seed));
    const { pictures } = sheet.columns.find(({ name }) => name === columns.stack)!;
    shown.push({ label: variant.name, sublabel: `seed ${best.seed}`, pictures });
  }
  return await drawGrid({
    title: "The stack, of each variant the best seed",
    columns: rows.map(({ text, seed }) => text ? { label: text, sublabel: `seed ${seed}` } : { label: `seed ${seed}` }),
    rows: shown.map(({ label, sublabel }) => ({ label, sublabel })),
    cells: shown.map(({ pictures }) => pictures),
    footer: [
      cells.some(showsRetention)
        ? "Best: the most is left of the concept that has lost more."
        : "Best: the additivity error is the smallest. It is small as well where a network has learned little.",
    ],
  });
}
