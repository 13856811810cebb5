import { defineStep, hashFile } from "../pipeline/mod.ts";
import { kept, readRegions, type RegionCell, regionError, type Regions } from "./report/regions.ts";
import { retention, samples } from "./things.ts";
import { jackknifeHalf } from "./comparison/statistics.ts";
import { checkOptions } from "./values/check_options.ts";
import type { Retention, RetentionColumn } from "./values/retention.ts";
import { columnOf, type SampleColumn, type SampleSheet } from "./values/sample_sheet.ts";

/** Options of `measureRetention`. */
export interface MeasureRetentionOptions {
  /** File with the cells that character and outfit decide, and their colours. */
  readonly regions: string;
  /** Columns of the samples whose prompts ask for the character. */
  readonly identity: readonly string[];
  /** Columns of the samples whose prompts ask for the outfit. */
  readonly outfit: readonly string[];
}

/**
 * Reads off the pictures how much of the character and of the outfit is there: `1 − E / E₀`, with E the mean colour difference to what the concept
 * decides, E₀ the same for the base alone with the same prompt and seed. Averaged over the column's pictures before dividing.
 */
export function measureRetention(options: MeasureRetentionOptions) {
  const stepName = "measure retention", known = { regions: true, identity: true, outfit: true } as const;
  checkOptions<MeasureRetentionOptions>(stepName, options, known);
  const { regions, identity, outfit } = options;
  return defineStep({
    name: stepName,
    version: 2,
    options: { identity, outfit },
    needs: { samples },
    gives: { retention },
    fingerprint: () => hashFile(regions),
    plan: () => ({ lines: [`identity: ${identity.join(", ")}`, `outfit: ${outfit.join(", ")}`] }),
    run: async ({ samples }, run) => {
      const found = retentionOf(samples, await readRegions(regions), { identity, outfit });
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

/** Retention of some columns of a sheet that also has the base's answers to their prompts. */
export function retentionOf(
  samples: SampleSheet,
  cells: Regions,
  { identity, outfit }: Pick<MeasureRetentionOptions, "identity" | "outfit">,
): RetentionColumn[] {
  return [...new Set([...identity, ...outfit])].map((name) => {
    const column = columnOf(samples.columns, name, "Cannot measure"), base = baselineOf(samples, column);
    const [character, outfits] = ([[identity, cells.character], [outfit, cells.outfit]] as const).map(
      ([asking, region]) => asking.includes(name) ? shareOf(column, base, region) : { share: null, half: null },
    );
    return {
      name,
      ...{ identityKept: character.share, outfitTaken: outfits.share },
      ...{ identityHalf: character.half, outfitHalf: outfits.half },
      pictures: column.pictures.length,
    };
  });
}

function baselineOf({ columns }: SampleSheet, { name, prompt }: SampleColumn): SampleColumn {
  const found = columns.find((column) => column.networks.length === 0 && column.prompt === prompt);
  if (found) return found;
  throw new Error(
    `Cannot measure ${JSON.stringify(name)}: no column shows the base with its prompt; sample with baselines: true`,
  );
}

/** What a column shows of a concept, and half of its interval. */
function shareOf({ pictures }: SampleColumn, base: SampleColumn, region: readonly RegionCell[]) {
  const errors = pictures.map((picture) => regionError(picture, region));
  const baseErrors = base.pictures.map((picture) => regionError(picture, region));
  // Means of as many pictures: their ratio is that of the sums.
  const without = (left: number | null) => {
    const total = (values: readonly number[]) => values.reduce((sum, value, at) => at === left ? sum : sum + value, 0);
    return kept(total(errors), total(baseErrors));
  };
  const share = without(null);
  // Without one of its pictures a share can be undefined though it has a value: then it has no interval.
  const half = share === null ? NaN : jackknifeHalf(pictures.length, (left) => without(left) ?? NaN);
  return { share, half: Number.isNaN(half) ? null : half };
}
