import { join } from "node:path";
import type { CacheLatentsOptions } from "../../steps/cache_latents.ts";
import type { NetworkThings } from "../../steps/sample.ts";
import type { SaveNetworksOptions } from "../../steps/save_networks.ts";
import * as things from "../../steps/things.ts";
import { commandFlags } from "../flags/command.ts";
import { type FlagName, flagsByName, type FlagValues } from "../flags/table.ts";
import type { Settings } from "../settings/settings.ts";
import { UsageError } from "../usage_error.ts";
import { baseOptions } from "./base_options.ts";
import { datasetsOptions } from "./data_options.ts";
import { watchValues } from "./network_settings.ts";
import type { RecipePlan } from "./step_calls.ts";
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
  checkOptimizerFlags(values, given);
  const name = output_name || "last";
  const plan: RecipePlan = {
    name,
    folder: join(folder, `${name}_run`),
    calls: [
      ["loadBases", baseOptions(values, isPair)],
      ["readDatasets", await datasetsOptions(values, isPair)],
      ["cacheLatents", latentOptions(values, folder)],
      ...trainCalls(values, isPair),
      ["saveNetworks", savingOptions(values, { folder, name }, isPair)],
    ],
  };
  return { plan, unused: [...given].filter((each) => !seen.has(each) && isMeantFor(each)) };
}

/** Whether a recipe should be made of a flag: not if the table says what it means, or if it says what to do with the recipe. */
function isMeantFor(name: FlagName): boolean {
  return flagsByName.get(name)!.status === "works" && !commandFlags.flags.some((flag) => flag.name === name);
}

function latentOptions(values: FlagValues, folder: string): CacheLatentsOptions {
  const { vae_batch_size: batchSize, cache_latents_to_disk } = values;
  return {
    ...(cache_latents_to_disk ? { folder: join(folder, "latents") } : {}),
    ...(batchSize === 1 ? {} : { batchSize }),
  };
}

function savingOptions(
  values: FlagValues,
  { folder, name }: { folder: string; name: string },
  isPair: boolean,
): SaveNetworksOptions<NetworkThings> {
  const { save_precision: precision, save_model_as, save_every_n_epochs: _ } = values;
  if (save_model_as !== "safetensors") {
    throw new UsageError(`--save_model_as=${save_model_as} is refused: it is not there yet; files are safetensors`);
  }
  const { network1, network2 } = things;
  return {
    folder,
    networks: isPair ? { network1, network2 } : { network1 },
    names: { network1: name, ...(isPair ? { network2: values.output_name_2 || `${name}_2` } : {}) },
    ...(precision === null ? {} : { precision }),
  };
}
