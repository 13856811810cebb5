import type { FlagName } from "../flags/table.ts";
import type { Settings } from "../settings/settings.ts";

/** What a run needs and settings need not have yet, with something that stands for it. */
const standIns: readonly (readonly [FlagName, string])[] = [
  ["output_dir", "out"],
  ["pretrained_model_name_or_path", "base"],
];

/** Settings of which a recipe can be made, though models, data and the folder of the results may still be missing: for checking the others. */
export function completeSettings(settings: Settings): Settings {
  const { values, isPair } = settings, { in_json, in_json_2, dataset_config, dataset_config_2 } = values;
  const missing = [
    ...standIns,
    ...in_json || dataset_config ? [] : [["train_data_dir", "data"] as const],
    ...!isPair || in_json_2 || dataset_config_2 ? [] : [["train_data_dir_2", "data"] as const],
  ].filter(([name]) => !values[name]);
  return { ...settings, values: { ...values, ...Object.fromEntries(missing) } };
}
