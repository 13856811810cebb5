import type { LoraFileOptions } from "../../steps/outputs/lora_files.ts";
import type { TrainingSampleOptions } from "../../steps/outputs/samples.ts";
import type { SaveOptions } from "../../steps/outputs/saving.ts";
import type { NetworkThings } from "../../steps/sample.ts";
import type { SaveNetworksOptions } from "../../steps/save_networks.ts";
import * as things from "../../steps/things.ts";
import type { TrainingOptions } from "../../steps/values/training_options.ts";
import type { FlagValues } from "../flags/table.ts";
import { UsageError } from "../usage_error.ts";
import { changed } from "./changed.ts";
import { logOptions } from "./log_options.ts";

/** What the training itself leaves behind while it runs. */
export type OutputOptions = Pick<TrainingOptions, "save" | "resume" | "logs" | "samples">;

/** How files are written. */
function fileOptions(values: FlagValues): LoraFileOptions {
  return {
    ...changed({
      precision: [values.save_precision, "float"],
      format: [values.save_model_as, "safetensors"],
      comment: [values.training_comment, null],
    }),
    ...(values.no_metadata ? { metadata: false } : {}),
  };
}

/** What is saved at the end. */
export function savingOptions(values: FlagValues, folder: string, isPair: boolean): SaveNetworksOptions<NetworkThings> {
  const { network1, network2 } = things, name = values.output_name || "last";
  return {
    folder,
    networks: isPair ? { network1, network2 } : { network1 },
    names: { network1: name, ...(isPair ? { network2: values.output_name_2 || `${name}_2` } : {}) },
    ...fileOptions(values),
  };
}

/** What is saved, logged and pictured while the training runs, and what it goes on from. */
export function outputOptions(values: FlagValues, folder: string, isPair: boolean): OutputOptions {
  const { output_name: network1, output_name_2: network2, resume } = values;
  // 0 is the same as unset, as in sd-scripts.
  const ratio = values.save_n_epoch_ratio || null;
  const when = changed({
    everyEpochs: [ratio === null ? values.save_every_n_epochs : null, null],
    everySteps: [values.save_every_n_steps, null],
    timesPerRun: [ratio, null],
    state: [values.save_state, false],
  });
  const kept = changed({
    lastEpochs: [values.save_last_n_epochs, null],
    lastSteps: [values.save_last_n_steps, null],
    lastEpochsState: [values.save_last_n_epochs_state, null],
    lastStepsState: [values.save_last_n_steps_state, null],
  });
  const names = { ...(network1 ? { network1 } : {}), ...(isPair && network2 ? { network2 } : {}) };
  const save: SaveOptions = {
    folder,
    ...(Object.keys(names).length ? { names } : {}),
    ...when,
    ...kept,
    ...fileOptions(values),
  };
  const logs = logOptions(values, isPair), samples = sampleOptions(values, folder, names);
  return {
    ...(Object.keys(when).length ? { save } : {}),
    ...(resume ? { resume } : {}),
    ...(logs ? { logs } : {}),
    ...(samples ? { samples } : {}),
  };
}

/** Pictures while training; undefined where none are asked for. */
function sampleOptions(
  values: FlagValues,
  folder: string,
  names: NonNullable<TrainingSampleOptions["names"]>,
): TrainingSampleOptions | undefined {
  const { sample_every_n_epochs: everyEpochs, sample_every_n_steps: everySteps } = values;
  if (everyEpochs === null && everySteps === null) return undefined;
  const { sample_prompts: prompts } = values;
  if (!prompts) {
    const flag = everyEpochs === null ? "sample_every_n_steps" : "sample_every_n_epochs";
    throw new UsageError(`--${flag} needs --sample_prompts, a file with a prompt on each line`);
  }
  return {
    folder,
    prompts,
    ...(everyEpochs === null ? { everySteps: everySteps! } : { everyEpochs }),
    ...changed({ sampler: [values.sample_sampler, "ddim"] }),
    ...(Object.keys(names).length ? { names } : {}),
  };
}
