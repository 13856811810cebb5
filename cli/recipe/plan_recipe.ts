import { join } from "node:path";
import type { DebugDatasetOptions } from "../../steps/debug_dataset.ts";
import type { ReadDatasetsOptions } from "../../steps/read_datasets.ts";
import { checkFileName, isPath } from "../../steps/values/file_name.ts";
import type { FlagValues } from "../flags/table.ts";
import type { Settings } from "../settings/settings.ts";
import { UsageError } from "../usage_error.ts";
import { changed } from "./changed.ts";
import { baseOptions } from "./base_options.ts";
import { datasetsOptions } from "./data_options.ts";
import { outputOptions, savingOptions } from "./output_options.ts";
import type { RecipePlan, StepCall } from "./step_calls.ts";
import { trainCalls } from "./train_calls.ts";
import { checkOptimizerFlags } from "./training_options.ts";

/**
 * Turns settings into a recipe. Whatever a flag decides is an option of a step.
 *
 * @throws {UsageError} If a setting is missing, or has a value that nothing can be made of.
 */
export async function planRecipe({ values, given, isPair }: Settings): Promise<RecipePlan> {
  const { output_dir: folder, output_name } = values;
  if (!folder) throw new UsageError("--output_dir is missing: the folder that the LoRA files are written to");
  if (!isPath(folder)) throw new UsageError(`--output_dir is ${JSON.stringify(folder)}, must be a path`);
  const name = output_name || "last";
  // It names the run's folder as well.
  checkFileName(name);
  if (values.debug_dataset) {
    const datasets = await datasetsOptions(values, isPair);
    const calls: StepCall[] = [["readDatasets", datasets], ["debugDataset", debugOptions(values, folder)]];
    return { name, folder: join(folder, `${name}_dataset_run`), outputFolder: folder, calls };
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
  return { name, folder: join(folder, `${name}_run`), outputFolder: folder, calls };
}

/** Pictures are encoded once, unless some change in every step; those the step that caches refuses, if it is asked for. */
function latentCall(values: FlagValues, data: ReadDatasetsOptions, folder: string): StepCall {
  const { cache_latents, cache_latents_to_disk, vae_batch_size } = values;
  const datasets = [...data.network1, ...data.network2 ?? []];
  const isChanging = datasets.some(({ enableBucket, subsets = [], ...shared }) =>
    [shared, ...subsets].some(({ colorAug, randomCrop, faceCropAugRange }) =>
      // Faces are cut around without buckets alone.
      colorAug || randomCrop || (faceCropAugRange && !enableBucket)
    )
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
