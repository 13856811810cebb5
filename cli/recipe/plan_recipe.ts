import { join } from "node:path";
import type { DebugDatasetOptions } from "../../steps/debug_dataset.ts";
import type { ReadDatasetsOptions } from "../../steps/read_datasets.ts";
import { commandFlags } from "../flags/command.ts";
import { type FlagName, flagsByName, type FlagValues } from "../flags/table.ts";
import type { Settings } from "../settings/settings.ts";
import { UsageError } from "../usage_error.ts";
import { changed } from "./changed.ts";
import { baseOptions } from "./base_options.ts";
import { datasetsOptions } from "./data_options.ts";
import { outputOptions, savingOptions } from "./output_options.ts";
import { watchValues } from "./network_settings.ts";
import type { RecipePlan, StepCall } from "./step_calls.ts";
import { trainCalls } from "./train_calls.ts";
import { checkOptimizerFlags } from "./training_options.ts";

/** What a command line comes to. */
export interface PlannedRecipe {
  readonly plan: RecipePlan;
  /** Flags that were given and decide nothing in this run. */
  readonly unused: readonly FlagName[];
}

/**
 * Turns settings into a recipe. Whatever a flag decides is an option of a step.
 *
 * @throws {UsageError} If a setting is missing, or has a value that nothing can be made of.
 */
export async function planRecipe({ values: all, given, isPair }: Settings): Promise<PlannedRecipe> {
  const { values, seen } = watchValues(all);
  const { output_dir: folder, output_name } = values;
  if (!folder) throw new UsageError("--output_dir is missing: the folder that the LoRA files are written to");
  const name = output_name || "last";
  if (values.debug_dataset) {
    const datasets = await datasetsOptions(values, isPair);
    const calls: StepCall[] = [["readDatasets", datasets], ["debugDataset", debugOptions(values, folder)]];
    // All that is about training waits for the run that trains.
    return { plan: { name, folder: join(folder, `${name}_dataset_run`), calls }, unused: [] };
  }
  checkOptimizerFlags(values, given);
  const bases = baseOptions(values, isPair), datasets = await datasetsOptions(values, isPair);
  const calls: StepCall[] = [
    ["loadBases", bases],
    ["readDatasets", datasets],
    latentCall(values, datasets, folder),
    ...trainCalls(values, isPair, outputOptions(values, folder, isPair)),
    ["saveNetworks", savingOptions(values, folder, isPair)],
  ];
  const plan = { name, folder: join(folder, `${name}_run`), calls };
  return { plan, unused: [...given].filter((each) => !seen.has(each) && isMeantFor(each)) };
}

/** Whether a recipe should be made of a flag: not if the table says what it means, or if it says what to do with the recipe. */
function isMeantFor(name: FlagName): boolean {
  return flagsByName.get(name)!.status === "works" && !commandFlags.flags.some((flag) => flag.name === name);
}

/** Pictures are encoded once, unless some change in every step; those the step that caches refuses, if it is asked for. */
function latentCall(values: FlagValues, datasets: ReadDatasetsOptions, folder: string): StepCall {
  const { cache_latents, cache_latents_to_disk, vae_batch_size } = values;
  const all = [...datasets.network1, ...datasets.network2 ?? []].flatMap((
    dataset,
  ) => [dataset, ...dataset.subsets ?? []]);
  const isChanging = all.some(({ colorAug, randomCrop, faceCropAugRange }) =>
    colorAug || randomCrop || faceCropAugRange
  );
  if (isChanging && !cache_latents && !cache_latents_to_disk) return ["encodeLatents", {}];
  return ["cacheLatents", {
    ...(cache_latents_to_disk ? { folder: join(folder, "latents") } : {}),
    ...changed({ batchSize: [vae_batch_size, 1] }),
  }];
}

function debugOptions(values: FlagValues, folder: string): DebugDatasetOptions {
  return {
    folder,
    ...changed({
      base: [values.pretrained_model_name_or_path || null, null],
      maxTokenLength: [values.max_token_length, 75],
      weightedCaptions: [values.weighted_captions, false],
    }),
  };
}
