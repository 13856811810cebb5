import { mkdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { isThere } from "../../formats/plain_file.ts";
import { type Description, type RunEvent, runRecordName } from "../../pipeline/mod.ts";
import { readRegions } from "../report/regions.ts";
import type { SampleSheet } from "../values/sample_sheet.ts";
import { type Cell, cellFigures, cellFile, readCell, writeCell } from "./cell.ts";
import { type CellSettings, cellSettings } from "./cell_settings.ts";
import { keepEarlierResults } from "./earlier_results.ts";
import { baseFolder, cellFolder, network1Folder, runFolder } from "./folders.ts";
import { planComparison } from "./plan.ts";
import { baseRecipe, changesNetwork1, pretrainRecipe, runCell } from "./recipes.ts";
import { writeResults } from "./results.ts";
import { checkComparison, type ComparisonOptions, type Variant } from "./variant.ts";

/** How a comparison is run. */
export interface ComparisonRun {
  readonly signal?: AbortSignal;
  /** Hears of the steps inside of each cell. */
  readonly onEvent?: (event: RunEvent) => void;
  /** Hears, in sentences, of cells that begin or are done. */
  readonly onCell?: (text: string) => void;
}

/** Steps of the cells whose events nobody wants by the hundred. */
const quiet = new Set(["run-started", "run-finished", "step-unchanged", "step-loaded", "step-started", "artifact"]);

/**
 * Variants × seeds: each cell makes its two networks, pictures of them alone and stacked, and is measured. What variants share is made once: the base's own answers,
 * latents, and the pretrained network 1 of each seed. Seeds come first: after each the table is whole for all variants.
 *
 * A cell that is finished is never run again nor written over; one that was stopped goes on from its last checkpoint. Every variant is planned before anything is
 * computed. At the start and after each cell the results of all that are finished are written: see `writeResults`. Results of other cells are kept: see
 * `keepEarlierResults`.
 *
 * Both reject where a finished cell of other settings lies in the folder, and where a variant cannot be planned.
 *
 * @throws {RangeError} As {@linkcode checkComparison}.
 */
export function comparison(options: ComparisonOptions) {
  checkComparison(options);
  return {
    /** What is there and what is to be made, and every variant's recipe as a dry run with the first seed. */
    describe: (): Promise<Description> => new Comparison(options, {}).describe(),
    run: (run: ComparisonRun = {}): Promise<Cell[]> => new Comparison(options, run).go(),
  };
}

/** A cell to be made. */
interface Asked {
  readonly variant: Variant;
  readonly seed: number;
}

class Comparison {
  private readonly shared = new Map<string, Promise<SampleSheet>>();
  private readonly asked: readonly Asked[];
  private settings: Promise<CellSettings> | null = null;

  constructor(private readonly options: ComparisonOptions, private readonly run: ComparisonRun) {
    const { variants, seeds } = options;
    this.asked = seeds.flatMap((seed) => variants.map((variant) => ({ variant, seed })));
  }

  async describe(): Promise<Description> {
    const { variants, seeds, folder } = this.options, { done } = await this.cells();
    const [{ name }] = variants, count = `${variants.length} variants × ${seeds.length} seeds`;
    const lines = [
      `${count} = ${this.asked.length} cells, ${done.length} of them done; the baseline is ${JSON.stringify(name)}`,
      `seeds ${seeds.join(", ")}; what follows is of seed ${seeds[0]}, of each variant what is not as with the first`,
      `results are in ${join(folder, "results.md")}`,
    ];
    const cells = { name: "cells", options: {}, needs: [], gives: [], replaces: [], releases: [], disk: [] };
    return {
      name: "comparison",
      steps: [{ ...cells, stored: false, figures: {}, lines }, ...await planComparison(this.options)],
    };
  }

  async go(): Promise<Cell[]> {
    const { done, missing } = await this.cells(), total = this.asked.length;
    // Hours of training are before the last variant: what is wrong with it is found now.
    if (missing.length > 0) {
      const variants = [...new Set(missing.map(({ variant }) => variant))];
      this.say(`planning ${variants.length} ${variants.length === 1 ? "variant" : "variants"}`);
      await planComparison(this.options, variants);
      await mkdir(this.options.folder, { recursive: true });
      // As the data are now, not after a training.
      await this.settingsOf();
    }
    const earlier = await keepEarlierResults(this.options.folder, done);
    if (earlier !== null) this.say(`results of other seeds, ways or data are now in ${earlier}`);
    if (done.length > 0) await writeResults(this.options, done);
    for (const { variant, seed } of missing) {
      this.say(`cell ${done.length + 1} of ${total}: ${variant.name}, seed ${seed}`);
      const own = cellFolder(this.options, variant, seed), goesOn = await isThere(runFolder(own));
      const cell = await this.make(variant, seed);
      done.push(cell);
      const figures = Object.entries(cell.figures).map(([name, value]) => `${name} ${Number(value.toPrecision(3))}`);
      const took = `${cell.seconds.toFixed(0)} s${goesOn ? " since it was last started" : ""}`;
      this.say(`cell ${done.length} of ${total} took ${took}: ${figures.join(", ")}`);
      await writeResults(this.options, done);
    }
    this.say(`all ${total} cells are done: ${join(this.options.folder, "results.md")}`);
    return done;
  }

  /** Cells that are done, and those that are missing. Nothing is written over: a cell of other settings is refused. */
  private async cells(): Promise<{ done: Cell[]; missing: Asked[] }> {
    const done: Cell[] = [], missing: Asked[] = [], others: string[] = [];
    for (const { variant, seed } of this.asked) {
      const folder = cellFolder(this.options, variant, seed), found = await readCell(folder);
      if (found === null) missing.push({ variant, seed });
      else if (found.settings !== (await this.settingsOf())(variant, seed)) others.push(folder);
      // Its name decides its place alone.
      else done.push({ ...found, variant: variant.name });
    }
    if (others.length > 0) {
      const more = others.length === 1 ? "" : ` and ${others.length - 1} more`;
      throw new Error(
        `Cannot compare in ${this.options.folder}: the finished cell ${cellFile(others[0])}${more} is of other ` +
          "settings, another base or other data; name another folder (--output_dir), or delete its folder",
      );
    }
    return { done, missing };
  }

  private settingsOf(): Promise<CellSettings> {
    this.settings ??= cellSettings(this.options, this.run.signal ?? new AbortController().signal);
    return this.settings;
  }

  private async make(variant: Variant, seed: number): Promise<Cell> {
    const { variants: [baseline], regions } = this.options, own = cellFolder(this.options, variant, seed);
    const { orthonormal = false } = variant, one = network1Folder(this.options, seed, orthonormal);
    const started = performance.now(), base = await this.basePictures();
    const alone = changesNetwork1(variant) ? { columns: [] } : await this.network1(seed, orthonormal, one);
    const files = {
      own,
      network1: join(one, "network1.safetensors"),
      baseline: join(cellFolder(this.options, baseline, seed), "network2.safetensors"),
    };
    if (variant.training === "projected") await this.needBaseline(baseline, seed);
    const work = runFolder(own);
    const values = await runCell(this.options, variant, seed, { folders: files, folder: work, ...this.running() });
    const sheet = { columns: [...base.columns, ...alone.columns, ...values.samples.columns] };
    const cells = regions === undefined ? null : await readRegions(regions);
    const cell: Cell = {
      variant: variant.name,
      seed,
      settings: (await this.settingsOf())(variant, seed),
      figures: cellFigures(sheet, cells, values.additivity, values.network2.log),
      seconds: (performance.now() - started) / 1000,
    };
    await writeCell(own, cell, sheet);
    await rename(join(work, runRecordName), join(own, runRecordName));
    // Checkpoints and products of a finished cell: nobody needs them any more.
    await rm(work, { recursive: true });
    return cell;
  }

  private async needBaseline(baseline: Variant, seed: number): Promise<void> {
    if (await readCell(cellFolder(this.options, baseline, seed))) return;
    throw new Error(
      `Cannot project network 2 of seed ${seed}: the baseline ${JSON.stringify(baseline.name)} is not done for it`,
    );
  }

  private basePictures(): Promise<SampleSheet> {
    return this.once("base", async () => {
      const { values } = await baseRecipe(this.options).run({
        ...{ folder: baseFolder(this.options), keep: ["samples"] },
        ...this.running(),
      });
      return values.samples;
    });
  }

  private network1(seed: number, isOrthonormal: boolean, own: string): Promise<SampleSheet> {
    return this.once(own, async () => {
      this.say(`network 1, seed ${seed}${isOrthonormal ? ", orthonormal" : ""}`);
      const { values } = await pretrainRecipe(this.options, seed, isOrthonormal, own).run({
        ...{ folder: runFolder(own), keep: ["samples"] },
        ...this.running(),
      });
      return values.samples;
    });
  }

  private once(key: string, make: () => Promise<SampleSheet>): Promise<SampleSheet> {
    const found = this.shared.get(key) ?? make();
    this.shared.set(key, found);
    return found;
  }

  private running() {
    const { signal, onEvent } = this.run;
    return {
      ...(signal ? { signal } : {}),
      // One run of many: it cannot be started again by itself.
      record: { started: null },
      onEvent: (event: RunEvent) => {
        if (!quiet.has(event.type)) onEvent?.(event);
      },
    };
  }

  private say(text: string): void {
    this.run.onCell?.(text);
  }
}
