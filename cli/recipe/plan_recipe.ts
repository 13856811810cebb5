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
  checkNames(values, isPair);
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

/** Refuses names that cannot be those of files; network 1's names the run's folder as well. What decides nothing is not looked at. */
function checkNames(values: FlagValues, isPair: boolean): void {
  const { output_name, output_name_2, log_prefix, log_prefix_2, log_tracker_name } = values;
  const hasLogs = Boolean(values.logging_dir);
  // A time stands behind a prefix.
  const prefix = (text: string | null) => text && `${text}0`;
  const names = [
    ["output_name", output_name, true],
    ["output_name_2", output_name_2, isPair],
    ["log_prefix", prefix(log_prefix), hasLogs],
    ["log_prefix_2", prefix(log_prefix_2), hasLogs && isPair],
    ["log_tracker_name", log_tracker_name, hasLogs],
  ] as const;
  for (const [flag, name, decides] of names) {
    if (!name || !decides) continue;
    try {
      checkFileName(name, flag.startsWith("log_") ? "write logs" : undefined);
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
      throw new UsageError(`--${flag}: ${error.message}`, { cause: error });
    }
  }
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
