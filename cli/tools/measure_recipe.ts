import { pipeline } from "../../pipeline/mod.ts";
import { encodeLatents } from "../../steps/encode_latents.ts";
import { loadBases } from "../../steps/load_bases.ts";
import { loadNetwork1 } from "../../steps/load_network_1.ts";
import { loadNetwork2 } from "../../steps/load_network_2.ts";
import { measureInterference } from "../../steps/measure_interference.ts";
import { measureRetention } from "../../steps/measure_retention.ts";
import { probesFromData } from "../../steps/probes_from_data.ts";
import { probesFromSamples } from "../../steps/probes_from_samples.ts";
import { readDatasets } from "../../steps/read_datasets.ts";
import { sample } from "../../steps/sample.ts";
import { network1, network2, retention, samples } from "../../steps/things.ts";
import type { MixedPrecision } from "../../steps/values/mixed_precision.ts";
import { writeInterferenceReport } from "../../steps/write_interference_report.ts";
import type { RunnableRecipe } from "../run_recipe.ts";

/** What is measured of two LoRA files in a base. */
export interface MeasureRecipeOptions {
  readonly files: readonly [string, string];
  readonly base: string;
  readonly config?: string;
  readonly vae?: string;
  readonly mixedPrecision: MixedPrecision;
  readonly f16Arithmetic?: boolean;
  /** Receives the report. */
  readonly folder: string;
  /** Folders of pictures that each LoRA is about. */
  readonly data?: readonly [string, string];
  /** Asking for each LoRA's concept alone, and for both. */
  readonly prompts?: { readonly one: string; readonly two: string; readonly stack: string };
  /** Pixels of pictures' sides. */
  readonly resolution: number;
  /** Rows of the picture grid: what fills `{row}`, and a seed. */
  readonly rows: readonly { readonly text: string; readonly seed: number }[];
  /** Most pictures of each network's data. */
  readonly most: number;
  readonly sampler: { readonly steps: number; readonly guidance: number };
  /** File of the cells that the concepts decide. */
  readonly regions?: string;
  /** Folder of a run or of logs. */
  readonly logs?: string;
}

const columns = { base: "base", one: "LoRA 1", two: "LoRA 2", stack: "stack" } as const;

/** The rows' seeds, and their texts where a prompt has a place for them. */
function shownRows(
  prompts: NonNullable<MeasureRecipeOptions["prompts"]>,
  rows: MeasureRecipeOptions["rows"],
): Record<string, readonly (string | number)[]> {
  const seeds = rows.map(({ seed }) => seed);
  const isUsed = Object.values(prompts).some((prompt) => prompt.includes("{row}"));
  return isUsed ? { row: rows.map(({ text }) => text), seeds } : { seeds };
}

/** The recipe that `measure --base` runs. `data` or `prompts` must be there. */
export function measureRecipe(options: MeasureRecipeOptions): RunnableRecipe {
  const { files, base, config, vae, mixedPrecision, folder, data, prompts, resolution, rows, most, sampler } = options;
  const { regions, logs, f16Arithmetic } = options,
    arithmetic: Readonly<Record<string, boolean>> = f16Arithmetic ? { f16Arithmetic } : {};
  const start = pipeline("measure")
    .use(loadBases({
      ...{ network1: base, mixedPrecision, ...arithmetic },
      ...config === undefined ? {} : { config },
      ...vae === undefined ? {} : { vae },
    }))
    .use(loadNetwork1({ weights: files[0] }))
    .use(loadNetwork2({ weights: files[1] }));
  const asked = prompts ? [...new Set(rows.map(({ text }) => prompts.stack.replaceAll("{row}", () => text)))] : [];
  const measure = measureInterference({ prompts: asked });
  const report = {
    ...{ folder, files, base },
    ...logs === undefined ? {} : { logs },
    settings: {
      ...{ mixedPrecision, ...arithmetic, resolution },
      ...data ? { data: [...data], most } : {},
      ...prompts ? { prompts: { ...prompts }, ...shownRows(prompts, rows), ...sampler, sampler: "ddim" } : {},
    },
  };
  const read = () => {
    // sd-scripts' smallest bucket.
    const enableBucket = resolution >= 256;
    const dataset = (trainDataDir: string) => [{ trainDataDir, resolution, batchSize: 1, enableBucket }];
    return readDatasets({ network1: dataset(data![0]), network2: dataset(data![1]) });
  };
  if (!prompts) {
    return start.use(read()).use(encodeLatents()).use(probesFromData({ most })).use(measure)
      .use(writeInterferenceReport({ ...report, shown: {} }));
  }
  const sampled = sample({
    ...{ networks: { network1, network2 }, width: resolution, height: resolution, rows, ...sampler },
    // What retention is measured from.
    baselines: regions !== undefined,
    columns: [
      { name: columns.base, prompt: prompts.stack, networks: [] },
      { name: columns.one, prompt: prompts.one, networks: ["network1"] },
      { name: columns.two, prompt: prompts.two, networks: ["network2"] },
      { name: columns.stack, prompt: prompts.stack, networks: ["network1", "network2"] },
    ],
  });
  const { one, two, stack } = columns, shownColumns = { columns: Object.values(columns) };
  const measured = data
    ? start.use(read()).use(encodeLatents()).use(probesFromData({ most })).use(measure).use(sampled)
    : start.use(sampled).use(probesFromSamples({ network1: one, network2: two })).use(measure);
  if (regions === undefined) {
    return measured.use(writeInterferenceReport({ ...report, ...shownColumns, shown: { samples } }));
  }
  return measured.use(measureRetention({ regions, identity: [one, stack], outfit: [two, stack] }))
    .use(writeInterferenceReport({ ...report, ...shownColumns, shown: { samples, retention } }));
}
