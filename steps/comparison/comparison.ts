import { rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { type Description, hashJson, recordFolder, type RunEvent, runRecordName } from "../../pipeline/mod.ts";
import { readRegions } from "../report/regions.ts";
import type { SampleSheet } from "../values/sample_sheet.ts";
import { type Cell, cellFigures, readCell, writeCell } from "./cell.ts";
import { baseRecipe, changesNetwork1, pretrainRecipe, runCell } from "./recipes.ts";
import { writeResults } from "./results.ts";
import { checkComparison, type ComparisonOptions, type Variant, variantFolder } from "./variant.ts";

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
 * A cell that is finished is never run again; one that was stopped goes on from its last checkpoint. At the start and after each cell the results of all that are finished
 * are written: see `writeResults`.
 *
 * @throws {RangeError} As {@linkcode checkComparison}.
 */
export function comparison(options: ComparisonOptions) {
  checkComparison(options);
  return {
    /** The first cell's recipe, as a dry run. */
    describe(): Promise<Description> {
      return pretrainRecipe(options, options.seeds[0], false, join(options.folder, "networks")).describe();
    },
    run: (run: ComparisonRun = {}): Promise<Cell[]> => new Comparison(options, run).go(),
  };
}

class Comparison {
  private readonly shared = new Map<string, Promise<SampleSheet>>();
  private data: unknown;

  constructor(private readonly options: ComparisonOptions, private readonly run: ComparisonRun) {}

  async go(): Promise<Cell[]> {
    const { variants, seeds, network1, network2 } = this.options, done: Cell[] = [];
    const folders = [network1.train, network1.reg, network2.train, network2.reg].filter((each) => each !== undefined);
    this.data = await Promise.all(folders.map((folder) => recordFolder(folder, { followLinks: true })));
    const asked = seeds.flatMap((seed) => variants.map((variant) => ({ variant, seed })));
    const missing: typeof asked = [], total = asked.length;
    for (const each of asked) {
      const found = await readCell(this.cellFolder(each.variant, each.seed), this.settingsOf(each.variant, each.seed));
      // Its name decides its place alone.
      if (found) done.push({ ...found, variant: each.variant.name });
      else missing.push(each);
    }
    if (done.length > 0) await writeResults(this.options, done);
    for (const { variant, seed } of missing) {
      this.say(`cell ${done.length + 1} of ${total}: ${variant.name}, seed ${seed}`);
      const cell = await this.make(variant, seed);
      done.push(cell);
      const figures = Object.entries(cell.figures).map(([name, value]) => `${name} ${Number(value.toPrecision(3))}`);
      this.say(`cell ${done.length} of ${total} took ${cell.seconds.toFixed(0)} s: ${figures.join(", ")}`);
      await writeResults(this.options, done);
    }
    this.say(`all ${total} cells are done: ${join(this.options.folder, "results.md")}`);
    return done;
  }

  private async make(variant: Variant, seed: number): Promise<Cell> {
    const { folder, variants: [baseline], regions } = this.options, own = this.cellFolder(variant, seed);
    const { orthonormal = false } = variant,
      one = join(folder, "network1", `seed-${seed}${orthonormal ? "-orthonormal" : ""}`);
    const started = performance.now(), base = await this.basePictures();
    const alone = changesNetwork1(variant) ? { columns: [] } : await this.network1(seed, orthonormal, one);
    const files = {
      own,
      network1: join(one, "network1.safetensors"),
      baseline: join(this.cellFolder(baseline, seed), "network2.safetensors"),
    };
    if (variant.training === "projected") await this.needBaseline(baseline, seed);
    const work = join(own, "run");
    const values = await runCell(this.options, variant, seed, { folders: files, folder: work, ...this.running() });
    const sheet = { columns: [...base.columns, ...alone.columns, ...values.samples.columns] };
    const cells = regions === undefined ? null : await readRegions(regions);
    const cell: Cell = {
      variant: variant.name,
      seed,
      settings: this.settingsOf(variant, seed),
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
    if (await readCell(this.cellFolder(baseline, seed), this.settingsOf(baseline, seed))) return;
    throw new Error(
      `Cannot project network 2 of seed ${seed}: the baseline ${JSON.stringify(baseline.name)} is not done for it`,
    );
  }

  private basePictures(): Promise<SampleSheet> {
    return this.once("base", async () => {
      const { values } = await baseRecipe(this.options).run({
        ...{ folder: join(this.options.folder, "base"), keep: ["samples"] },
        ...this.running(),
      });
      return values.samples;
    });
  }

  private network1(seed: number, isOrthonormal: boolean, own: string): Promise<SampleSheet> {
    return this.once(own, async () => {
      this.say(`network 1, seed ${seed}${isOrthonormal ? ", orthonormal" : ""}`);
      const { values } = await pretrainRecipe(this.options, seed, isOrthonormal, own).run({
        ...{ folder: join(own, "run"), keep: ["samples"] },
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

  private cellFolder(variant: Variant, seed: number): string {
    return join(this.options.folder, "cells", variantFolder(variant), `seed-${seed}`);
  }

  /** A hash of what decides a cell; which other variants and seeds there are does not. */
  private settingsOf(variant: Variant, seed: number): string {
    const { bases, resolution, batchSize, priorLossWeight = 1, heldOut, training, pretraining = {} } = this.options;
    const { pictures, prompts, regions } = this.options, { name: _, ...own } = variant;
    const settings = {
      bases,
      resolution,
      batchSize,
      priorLossWeight,
      heldOut,
      training,
      pretraining,
      pictures,
      prompts,
    };
    return hashJson({ ...settings, own, seed, hasRegions: regions !== undefined, data: this.data });
  }

  private say(text: string): void {
    this.run.onCell?.(text);
  }
}
