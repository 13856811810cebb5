import { defineStep, hashFile } from "../pipeline/mod.ts";
import { kept, readRegions, type RegionCell, regionError } from "./report/regions.ts";
import { retention, samples } from "./things.ts";
import type { Retention, RetentionColumn } from "./values/retention.ts";
import type { SampleColumn, SampleSheet } from "./values/sample_sheet.ts";

/** One column to measure. */
export interface MeasuredColumn {
  /** A column of the sheet. */
  readonly name: string;
  /** The column in which the base alone answers the same prompts. */
  readonly baseline: string;
  /** What its prompts ask for. */
  readonly measures: readonly ("identity" | "outfit")[];
}

/** Options of `measureRetention`. */
export interface MeasureRetentionOptions {
  /** File with the cells that character and outfit decide, and their colours. */
  readonly regions: string;
  readonly columns: readonly MeasuredColumn[];
}

/**
 * Reads off the pictures how much of the character and of the outfit is there: `1 − E / E₀`, with E the mean colour difference to what the concept
 * decides, E₀ the same for the base alone with the same prompt and seed. Averaged over the column's pictures before dividing.
 */
export function measureRetention(options: MeasureRetentionOptions) {
  const { regions, columns } = options;
  return defineStep({
    name: "measure retention",
    version: 1,
    options: { columns },
    needs: { samples },
    gives: { retention },
    fingerprint: () => hashFile(regions),
    plan: () => ({ lines: columns.map(({ name, measures }) => `${name}: ${measures.join(" and ")}`) }),
    run: async ({ samples }, run) => {
      const cells = await readRegions(regions);
      const found = columns.map(({ name, baseline, measures }): RetentionColumn => {
        const column = columnOf(samples, name), base = columnOf(samples, baseline);
        const share = (region: readonly RegionCell[]) => kept(meanError(column, region), meanError(base, region));
        return {
          name,
          identityKept: measures.includes("identity") ? share(cells.character) : null,
          outfitTaken: measures.includes("outfit") ? share(cells.outfit) : null,
          pictures: column.pictures.length,
        };
      });
      for (const { name, identityKept, outfitTaken } of found) {
        run.figures({
          ...(identityKept === null ? {} : { [`identity kept, ${name}`]: identityKept }),
          ...(outfitTaken === null ? {} : { [`outfit taken, ${name}`]: outfitTaken }),
        });
      }
      const retention: Retention = { columns: found };
      return { retention };
    },
    store: "json",
  });
}

function columnOf({ columns }: SampleSheet, name: string): SampleColumn {
  const found = columns.find((column) => column.name === name);
  if (!found) {
    throw new Error(
      `Cannot measure ${JSON.stringify(name)}: the samples have ${columns.map((column) => column.name).join(", ")}`,
    );
  }
  return found;
}

function meanError({ pictures }: SampleColumn, region: readonly RegionCell[]): number {
  return pictures.reduce((sum, picture) => sum + regionError(picture, region), 0) / pictures.length;
}
