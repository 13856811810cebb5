import { rejects } from "node:assert/strict";
import { join } from "node:path";
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
  ["face_crop_aug_range", ["--face_crop_aug_range=4,2"]],
  ["face_crop_aug_range_2", ["--face_crop_aug_range_2=4,2"]],
  ["clip_skip", ["--clip_skip=99"]],
  ["f16_arithmetic", ["--f16_arithmetic"]],
  ["output_name", ["--output_name=a/b"]],
  ["output_name_2", ["--output_name_2=a/b"]],
  ["output_name_2", ["--output_name=Same", "--output_name_2=same"]],
  ["output_name_2", [
    "--output_name=same",
    "--output_name_2=same",
    "--sample_every_n_steps=1",
    "--sample_prompts=none",
  ]],
  ["log_prefix", ["--log_prefix=a/b"]],
  ["log_prefix_2", ["--log_prefix_2=../b"]],
  ["log_tracker_name", ["--log_tracker_name=a/b"]],
  ["learning_rate", ["--learning_rate=0"]],
  ["learning_rate", ["--learning_rate=0", "--unet_lr=0", "--text_encoder_lr=0"]],
  ["lr_scheduler", ["--lr_scheduler=polynomial", "--learning_rate=1e-8"]],
];

Deno.test("an error about a setting names the flag that gave it, network 2's own with _2", async (t) => {
  for (const [flag, words] of cases) {
    await t.step(words.join(" "), async () => {
      const settings = await settingsOfLine([...pair, ...words]);
      await rejects(prepare(settings), { name: "UsageError", message: new RegExp(`^--${flag}\\b(?!_2)`) });
    });
  }
});

Deno.test("what decides nothing is not looked at: names of logs without logs, network 2's name without network 2, a rate that no part has", async () => {
  const alone = pair.filter((word) => !word.startsWith("--train_data_dir_2"));
  await prepare(await settingsOfLine([...pair, "--logging_dir=", "--log_prefix=a/b", "--log_tracker_name=a/b"]));
  await prepare(await settingsOfLine([...alone, "--output_name_2=a/b", "--log_prefix_2=a/b", "--logging_dir=logs"]));
  await prepare(await settingsOfLine([...pair, "--learning_rate=0", "--unet_lr=1e-4"]));
  await prepare(await settingsOfLine([...pair, "--learning_rate=0", "--unet_lr=1e-4", "--text_encoder_lr=1e-5"]));
});

Deno.test("a file where logs should go is found before anything is computed", async () => {
  const file = join(d.toy.character, "10_sks person", "000.png");
  for (const words of [[`--logging_dir=${file}`], ["--logging_dir=logs", `--logging_dir_2=${file}`]]) {
    const settings = await settingsOfLine([...pair, ...words]);
    await rejects(prepare(settings), { message: `Cannot write into ${file}: it is a file, must be a folder` });
  }
});
