import { rejects } from "node:assert/strict";
import { planRecipe } from "../../cli/recipe/plan_recipe.ts";
import { recipeOf } from "../../cli/recipe/step_calls.ts";
import { asUsageError } from "../../cli/recipe/step_errors.ts";
import type { Settings } from "../../cli/settings/settings.ts";
import { UsageError } from "../../cli/usage_error.ts";
import * as d from "../../mod.ts";
import { settingsOfLine } from "./parse_line.ts";

const pair = [
  "--pretrained_model_name_or_path=toy",
  `--train_data_dir=${d.toy.character}`,
  `--train_data_dir_2=${d.toy.outfit}`,
  "--output_dir=out",
  "--resolution=64",
  "--optimizer_type=AdamW",
];

/** What `train` says before anything is computed. */
async function prepare(settings: Settings): Promise<void> {
  try {
    await recipeOf(await planRecipe(settings)).describe();
  } catch (error) {
    if (error instanceof UsageError || !(error instanceof Error)) throw error;
    const again = async (values: Settings["values"]) =>
      await recipeOf(await planRecipe({ ...settings, values })).describe();
    throw await asUsageError(error, settings.values, again);
  }
}

const cases: readonly (readonly [flag: string, words: readonly string[]])[] = [
  ["optimizer_args_2", ["--optimizer_args_2", "foo"]],
  ["optimizer_args_2", ["--optimizer_args_2", "foo=3"]],
  ["optimizer_args_2", ["--optimizer_args_2", "eps=1", "eps=2"]],
  ["optimizer_type_2", ["--optimizer_type_2=Nope"]],
  ["resolution_2", ["--resolution_2=abc"]],
  ["face_crop_aug_range_2", ["--face_crop_aug_range_2=a"]],
  ["network_args_2", ["--network_args_2", "rank_dropout=5"]],
  ["caption_dropout_rate_2", ["--caption_dropout_rate_2=7"]],
  ["train_batch_size_2", ["--train_batch_size_2=0"]],
  ["learning_rate_2", ["--learning_rate_2=0", "--freeze_network_1"]],
  // Network 2 has a good value of its own, or the same bad one.
  ["train_batch_size", ["--train_batch_size=0", "--train_batch_size_2=1"]],
  ["optimizer_type", ["--optimizer_type=Nope", "--optimizer_type_2=Lion"]],
  ["train_batch_size", ["--train_batch_size=0", "--train_batch_size_2=0"]],
];

Deno.test("an error about a setting names the flag that gave it, network 2's own with _2", async (t) => {
  for (const [flag, words] of cases) {
    await t.step(words.join(" "), async () => {
      const settings = await settingsOfLine([...pair, ...words]);
      await rejects(prepare(settings), { name: "UsageError", message: new RegExp(`^--${flag}\\b(?!_2)`) });
    });
  }
});
