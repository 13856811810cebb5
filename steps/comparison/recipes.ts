import { join } from "node:path";
import { type Description, pipeline, type RunOptions } from "../../pipeline/mod.ts";
import type { Additivity } from "../../training/additivity.ts";
import { cacheLatents } from "../cache_latents.ts";
import { freezeNetwork1 } from "../freeze_network_1.ts";
import { loadBases } from "../load_bases.ts";
import { loadNetwork1 } from "../load_network_1.ts";
import { loadNetwork2 } from "../load_network_2.ts";
import { measureAdditivity } from "../measure_additivity.ts";
import { pretrainNetwork1 } from "../pretrain_network_1.ts";
import { projectNetwork2 } from "../project_network_2.ts";
import { readDatasets } from "../read_datasets.ts";
import { sample } from "../sample.ts";
import { saveNetworks } from "../save_networks.ts";
import { network1, network2 } from "../things.ts";
import { trainBoth } from "../train_both.ts";
import { trainNetwork2 } from "../train_network_2.ts";
import type { Network } from "../values/network.ts";
import type { SampleSheet } from "../values/sample_sheet.ts";
import type { ComparisonOptions, Variant } from "./variant.ts";

/** Columns of pictures that all variants have, by what they show. */
export const columns = {
  base1: "base, network 1's prompt",
  base2: "base, network 2's prompt",
  baseStack: "base, prompt of the stack",
  one: "network 1 alone",
  two: "network 2 alone",
  stack: "stack",
} as const;

/** Where files of a cell go. */
export interface CellFolders {
  /** Made by the cell: its networks. */
  readonly own: string;
  /** LoRA file of the network 1 that was pretrained for the cell's seed. */
  readonly network1: string;
  /** The baseline's LoRA file of network 2, for what is made of it. */
  readonly baseline: string;
}

const noOrthogonality = { textEncoder: 0, unet: 0 } as const;

/** Whether a variant's network 1 is another one than was pretrained. */
export function changesNetwork1({ training = "after", freezing }: Variant): boolean {
  return training === "both" || (training === "after" && freezing !== undefined && freezing.mode !== "full");
}

/** The base's own answers to all three prompts: what retention is measured from. */
export function baseRecipe({ bases, pictures, prompts }: ComparisonOptions) {
  return pipeline("compare base")
    .use(loadBases(bases))
    .use(sample({
      ...{ ...pictures, networks: {} },
      columns: [
        { name: columns.base1, prompt: prompts.network1, networks: [] },
        { name: columns.base2, prompt: prompts.network2, networks: [] },
        { name: columns.baseStack, prompt: prompts.stack, networks: [] },
      ],
    }));
}

function startRecipe(name: string, options: ComparisonOptions, seed: number) {
  const { folder, bases, resolution, buckets = {}, batchSize, priorLossWeight = 1, heldOut } = options;
  const dataset = ({ train, reg }: ComparisonOptions["network1"]) => [{
    ...{ resolution, ...buckets, batchSize, priorLossWeight, trainDataDir: train },
    ...(reg === undefined ? {} : { regDataDir: reg }),
  }];
  return pipeline(name)
    .use(loadBases(bases))
    .use(readDatasets({
      ...{ network1: dataset(options.network1), network2: dataset(options.network2) },
      // The same pictures are held out for every seed.
      ...{ seed, validationSplit: heldOut, validationSeed: 1 },
    }))
    .use(cacheLatents({ folder: join(folder, "latents") }));
}

/** Trains the network 1 of a seed, which variants share. */
export function pretrainRecipe(options: ComparisonOptions, seed: number, isOrthonormal: boolean, own: string) {
  const { pictures, prompts } = options;
  return startRecipe("compare network 1", options, seed)
    .use(pretrainNetwork1(pretrainOptions(options, seed, isOrthonormal ? 0 : undefined)))
    .use(sample({
      ...{ ...pictures, networks: { network1 } },
      columns: [{ name: columns.one, prompt: prompts.network1, networks: ["network1"] }],
    }))
    .use(saveNetworks({ folder: own, networks: { network1 } }));
}

function pretrainOptions({ training, pretraining = {} }: ComparisonOptions, seed: number, place: number | undefined) {
  return { ...lastOnly(training, seed, place), ...pretraining };
}

/** Where a cell works, and who hears of it. */
export interface CellRun extends Omit<RunOptions<never>, "keep"> {
  readonly folders: CellFolders;
}

/** What a cell is measured by. */
export interface CellValues {
  readonly samples: SampleSheet;
  readonly additivity: Additivity;
  readonly network2: Network;
}

/** The steps of which a cell is made. */
function cellSteps(options: ComparisonOptions, variant: Variant, seed: number, own: string) {
  const { freezing = { mode: "full" }, orthogonality = noOrthogonality, stack, orthonormal = false } = variant;
  const { training, pictures, prompts } = options, { learningRate } = training, networks = { network1, network2 };
  const place = orthonormal ? 1 : undefined, coupling = { orthogonality, ...(stack ? { stack } : {}) };
  const alone = { name: columns.two, prompt: prompts.network2, networks: ["network2"] as const };
  const both = { name: columns.stack, prompt: prompts.stack, networks: ["network1", "network2"] as const };
  const one = { name: columns.one, prompt: prompts.network1, networks: ["network1"] as const };
  const asked = [...new Set(pictures.rows.map(({ text }) => prompts.stack.replaceAll("{row}", () => text)))];
  return {
    start: startRecipe(`compare ${variant.name}`, options, seed),
    pretrained: pretrainNetwork1(pretrainOptions(options, seed, orthonormal ? 0 : undefined)),
    frozen: freezeNetwork1(freezing),
    after: trainNetwork2({ ...lastOnly(training, seed, place), ...coupling }),
    jointly: trainBoth({
      ...{ ...pretrainOptions(options, seed, orthonormal ? 0 : undefined), ...coupling },
      network2: {
        ...learningRate === undefined ? {} : { learningRate },
        ...place === undefined ? {} : { orthonormalPlace: place },
      },
    }),
    projected: projectNetwork2({ side: variant.side ?? "rows" }),
    sampled: sample({
      ...pictures,
      networks,
      columns: changesNetwork1(variant) ? [one, alone, both] : [alone, both],
    }),
    measured: measureAdditivity({ prompts: asked }),
    saved: saveNetworks({ folder: own, networks }),
  };
}

/** Trains a cell's networks, makes its pictures, measures additivity and saves the networks. */
export async function runCell(
  options: ComparisonOptions,
  variant: Variant,
  seed: number,
  { folders, ...run }: CellRun,
): Promise<CellValues> {
  const { start, frozen, after, jointly, projected, sampled, measured, saved } = cellSteps(
    options,
    variant,
    seed,
    folders.own,
  );
  const kept = { ...run, keep: ["samples", "additivity", "network2"] } as const;
  const withOne = () => start.use(loadNetwork1({ weights: folders.network1 }));
  switch (variant.training ?? "after") {
    case "after":
      return (await withOne().use(frozen).use(after).use(sampled).use(measured).use(saved).run(kept)).values;
    case "both":
      return (await start.use(jointly).use(sampled).use(measured).use(saved).run(kept)).values;
    case "projected":
      return (await withOne().use(loadNetwork2({ weights: folders.baseline })).use(projected)
        .use(sampled).use(measured).use(saved).run(kept)).values;
  }
}

/**
 * A cell to be planned while there are no files of others yet: the networks that it would load are trained in the recipe. Options are checked at once.
 *
 * @param own The cell's folder.
 */
export function plannedCell(
  options: ComparisonOptions,
  variant: Variant,
  seed: number,
  own: string,
): { describe(options: { readonly folder: string }): Promise<Description> } {
  const { start, pretrained, frozen, after, jointly, projected, saved } = cellSteps(options, variant, seed, own);
  const trained = start.use(pretrained).use(frozen).use(after);
  switch (variant.training ?? "after") {
    case "after":
      return trained.use(saved);
    case "both":
      return start.use(jointly).use(saved);
    case "projected":
      return trained.use(projected).use(saved);
  }
}

/** Held-out pictures are not tried while training: additivity is measured on them afterwards. */
function lastOnly(training: ComparisonOptions["training"], seed: number, orthonormalPlace: number | undefined) {
  return {
    ...{ validateEveryEpochs: 1_000_000, maxValidationBatches: 1, ...training, seed },
    ...(orthonormalPlace === undefined ? {} : { orthonormalPlace }),
  };
}
