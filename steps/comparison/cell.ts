import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import type { StepFigures } from "../../training/trainer.ts";
import type { Additivity } from "../../training/additivity.ts";
import { textIfThere, writeTextFile } from "../outputs/text_file.ts";
import { retentionOf } from "../measure_retention.ts";
import type { Regions } from "../report/regions.ts";
import type { SampleSheet } from "../values/sample_sheet.ts";
import { sampleStore } from "../sample.ts";
import { lastFigures } from "./last_figures.ts";
import { columns } from "./recipes.ts";

/** One variant with one seed, done. */
export interface Cell {
  readonly variant: string;
  readonly seed: number;
  /** Hash of all that decides it: a comparison of other settings is refused where it lies. */
  readonly settings: string;
  /** What was measured, by name; see `figureNames` and `cellFigures`. */
  readonly figures: Readonly<Record<string, number>>;
  /** Since it was last started. */
  readonly seconds: number;
}

/** What of a training is worth a column. */
const trainingFigure = /^(loss_2|orth_\w+|stack_\w+)$/;

/**
 * What a cell is judged by:
 *
 * - `identity_alone`, `identity_stack`, `outfit_alone`, `outfit_stack`: retention, where it can be read off the pictures and the base is not perfect already;
 * - `identity_share`, `outfit_share`: the stack's over what the LoRA does alone, where that is not 0;
 * - `additivity` on held-out pictures, `change_1` and `change_2` as in `Additivity`;
 * - losses and terms of network 2's last ten steps, by the names that logs use.
 */
export function cellFigures(
  sheet: SampleSheet,
  regions: Regions | null,
  additivity: Additivity,
  log: readonly StepFigures[],
): Record<string, number> {
  const figures: Record<string, number> = {};
  if (regions) {
    const { one, two, stack } = columns;
    const found = retentionOf(sheet, regions, { identity: [one, stack], outfit: [two, stack] });
    const column = (name: string) => found.find((each) => each.name === name)!;
    const add = (name: string, figure: number | null) => {
      if (figure !== null) figures[name] = figure;
    };
    for (
      const [concept, own, share] of [["identity", one, "identityKept"], ["outfit", two, "outfitTaken"]] as const
    ) {
      const alone = column(own)[share], both = column(stack)[share];
      add(`${concept}_alone`, alone);
      add(`${concept}_stack`, both);
      add(`${concept}_share`, alone === null || both === null || alone === 0 ? null : both / alone);
    }
  }
  Object.assign(figures, { additivity: additivity.error, change_1: additivity.change1, change_2: additivity.change2 });
  const last = Object.entries(lastFigures(log)).filter(([name]) => trainingFigure.test(name));
  return { ...figures, ...Object.fromEntries(last) };
}

/** The file that makes a cell finished. */
export function cellFile(folder: string): string {
  return join(folder, "cell.json");
}

/**
 * A cell that was finished; null where there is none.
 *
 * @throws {SyntaxError} If its file is no JSON.
 */
export async function readCell(folder: string): Promise<Cell | null> {
  const path = cellFile(folder), text = await textIfThere(path);
  if (text === null) return null;
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new SyntaxError(`Cannot read ${path}: it is no JSON; delete it, and the cell is done anew`, { cause });
  }
}

/** Keeps a finished cell: its pictures, and last of all what makes it finished. */
export async function writeCell(folder: string, cell: Cell, sheet: SampleSheet): Promise<void> {
  const pictures = join(folder, "pictures");
  await rm(pictures, { recursive: true, force: true });
  await mkdir(pictures, { recursive: true });
  await sampleStore.save({ samples: sheet }, pictures);
  await writeTextFile(cellFile(folder), JSON.stringify(cell, null, 2) + "\n");
}

/** The pictures of a finished cell. */
export async function readCellPictures(folder: string): Promise<SampleSheet> {
  return (await sampleStore.load(join(folder, "pictures"))).samples;
}
