import { type Pipeline, pipeline } from "../../pipeline/mod.ts";
import { cacheLatents } from "../../steps/cache_latents.ts";
import { debugDataset } from "../../steps/debug_dataset.ts";
import { encodeLatents } from "../../steps/encode_latents.ts";
import { freezeNetwork1 } from "../../steps/freeze_network_1.ts";
import { loadNetwork1 } from "../../steps/load_network_1.ts";
import { loadBases } from "../../steps/load_bases.ts";
import { pretrainNetwork1 } from "../../steps/pretrain_network_1.ts";
import { readDatasets } from "../../steps/read_datasets.ts";
import { saveNetworks } from "../../steps/save_networks.ts";
import { trainBoth } from "../../steps/train_both.ts";
import { trainNetwork2 } from "../../steps/train_network_2.ts";

/** The steps that a command line can ask for, by the names under which `mod.ts` exports them. */
const steps = {
  loadBases,
  readDatasets,
  cacheLatents,
  encodeLatents,
  debugDataset,
  loadNetwork1,
  pretrainNetwork1,
  freezeNetwork1,
  trainNetwork2,
  trainBoth,
  saveNetworks,
};

/** Name of a step that a command line can ask for. */
export type StepName = keyof typeof steps;

/** One line of a recipe as data: which step, with which options. */
export type StepCall = {
  readonly [Name in StepName]: readonly [Name, NonNullable<Parameters<typeof steps[Name]>[0]>];
}[StepName];

/** A recipe as data: it can be run, and printed as a script that does the same. */
export interface RecipePlan {
  readonly name: string;
  /** Run folder. */
  readonly folder: string;
  /** What the LoRA files are written to; all else is written in there, too, unless a flag names another folder. */
  readonly outputFolder: string;
  readonly calls: readonly StepCall[];
}

/**
 * The recipe that the data stand for.
 *
 * @throws {RangeError | TypeError} If a step refuses its options, or does not fit behind the ones before it.
 */
export function recipeOf({ name, calls }: RecipePlan): Pipeline {
  let recipe = pipeline(name);
  for (const [step, options] of calls) {
    const make: (options: never) => unknown = steps[step];
    // Each call's options were checked with its step, and whether the steps fit `use` finds out: types do not follow a loop.
    recipe = recipe.use(make(options as never) as never) as unknown as Pipeline;
  }
  return recipe;
}
