import { deepEqual, equal, ok } from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { flagsByName } from "../../cli/flags/table.ts";
import { runCommandLine } from "../../cli/main.ts";
import { idleFlags, idleNotes } from "../../cli/recipe/idle_flags.ts";
import { inNewFolder } from "../steps/small_training.ts";
import { settingsOfLine } from "./parse_line.ts";

const alone = ["--pretrained_model_name_or_path=base", "--output_dir=out", "--train_data_dir=one", "--resolution=64"];
const pair = [...alone, "--train_data_dir_2=two", "--optimizer_type=AdamW"];

/** A flag, what is beside it where it decides nothing, and where it does. By what sd-scripts and the original do with it. */
type Case = readonly [flag: string, idle: readonly string[], deciding: readonly string[]];

const cases: readonly Case[] = [
  // Where the pictures are.
  ["--train_data_dir=x", ["--dataset_config=FILE"], []],
  ["--reg_data_dir=r", ["--in_json=j"], []],
  ["--reg_data_dir=r", ["--dataset_config=FILE"], []],
  ["--in_json=j", ["--dataset_config=FILE"], []],
  ["--train_data_dir_2=x", ["--dataset_config_2=FILE"], []],
  ["--reg_data_dir_2=r", ["--in_json_2=j"], []],
  ["--in_json_2=j", ["--dataset_config_2=FILE"], []],
  ["--dataset_repeats=3", [], ["--in_json=j"]],
  ["--dataset_repeats=3", [], ["--dataset_config=FILE"]],
  ["--dataset_repeats_2=3", ["--in_json=j"], ["--in_json_2=j"]],
  ["--prior_loss_weight=0.5", [], ["--reg_data_dir=r"]],
  ["--prior_loss_weight=0.5", ["--in_json=j", "--reg_data_dir=r"], ["--reg_data_dir_2=r"]],
  ["--prior_loss_weight_2=0.5", ["--reg_data_dir=r"], ["--reg_data_dir_2=r"]],
  // Sizes. With bucket_no_upscale each picture's own size makes its bucket.
  ...["min_bucket_reso", "max_bucket_reso"].flatMap((name): Case[] => [
    [`--${name}=128`, [], ["--enable_bucket"]],
    [`--${name}=128`, ["--enable_bucket", "--bucket_no_upscale"], ["--enable_bucket"]],
    [`--${name}_2=128`, ["--enable_bucket", "--enable_bucket_2=False"], ["--enable_bucket_2"]],
  ]),
  ["--bucket_reso_steps=32", [], ["--enable_bucket"]],
  ["--bucket_reso_steps_2=32", [], ["--enable_bucket"]],
  ["--bucket_no_upscale", [], ["--enable_bucket"]],
  ["--bucket_no_upscale_2", [], ["--enable_bucket"]],
  ["--face_crop_aug_range=2,4", ["--enable_bucket"], []],
  ["--face_crop_aug_range_2=2,4", ["--enable_bucket"], []],
  ["--vae_batch_size=4", ["--color_aug"], []],
  ["--vae_batch_size=4", ["--random_crop_2"], []],
  // Captions.
  ["--caption_extension=.a", ["--caption_extention=.b"], []],
  ["--caption_extension=.a", ["--in_json=j", "--in_json_2=k"], ["--in_json=j"]],
  ["--caption_extension_2=.a", ["--in_json_2=j"], []],
  ["--caption_extention=.a", ["--in_json=j", "--in_json_2=k"], []],
  ["--keep_tokens=2", [], ["--shuffle_caption"]],
  ["--keep_tokens=2", ["--token_warmup_step=9"], ["--caption_tag_dropout_rate=0.1"]],
  ["--keep_tokens_2=2", ["--shuffle_caption", "--shuffle_caption_2=False"], ["--shuffle_caption_2"]],
  ["--token_warmup_min=2", [], ["--token_warmup_step=9"]],
  ["--token_warmup_min_2=2", [], ["--token_warmup_step_2=9"]],
  // Two networks.
  ["--orth_te_coefficient=2", ["--network_train_unet_only"], []],
  ["--orth_unet_coefficient=2", ["--network_train_text_encoder_only"], []],
  ["--freeze_network_1", ["--semi_freeze_network_1"], []],
  ["--anneal_epoch=2", ["--orth_te_coefficient=0", "--orth_unet_coefficient=0"], []],
  ["--anneal_epoch=2", ["--orth_te_coefficient=0", "--orth_unet_coefficient=0", "--freeze_network_1"], [
    ...["--orth_te_coefficient=0", "--orth_unet_coefficient=0", "--semi_freeze_network_1"],
  ]],
  ["--half_annel_epoch=1", [], ["--anneal_epoch=3"]],
  ["--half_annel_epoch=1", ["--anneal_epoch=1", "--semi_freeze_network_1"], [
    ...["--anneal_epoch=2", "--semi_freeze_network_1"],
  ]],
  ["--half_annel_epoch=1", ["--anneal_epoch=3", "--orth_te_coefficient=0", "--orth_unet_coefficient=0"], [
    ...["--anneal_epoch=3", "--orth_te_coefficient=0", "--orth_unet_coefficient=0", "--kld_coefficient=1"],
  ]],
  ["--pretrain_steps=5", [], ["--freeze_network_1"]],
  ["--pretrain_steps=5", ["--freeze_network_1", "--network_weights=a"], ["--semi_freeze_network_1"]],
  ["--pretrain_steps=5", ["--freeze_network_1", "--resume=s"], ["--freeze_network_1"]],
  ["--orth_form=original", ["--orth_te_coefficient=0", "--orth_unet_coefficient=0"], ["--freeze_network_1"]],
  ["--orth_te_mask=I", ["--orth_te_coefficient=0"], []],
  ["--orth_te_mask=I", ["--network_train_unet_only"], ["--freeze_network_1"]],
  // Networks.
  ["--network_dim=8", ["--dim_from_weights", "--network_weights=a", "--network_weights_2=b"], ["--network_weights=a"]],
  ["--network_dim_2=8", ["--dim_from_weights", "--network_weights_2=b"], ["--network_weights_2=b"]],
  ["--network_alpha=8", ["--dim_from_weights", "--network_weights=a", "--network_weights_2=b"], [
    ...["--dim_from_weights", "--network_weights=a"],
  ]],
  ["--network_alpha_2=8", ["--dim_from_weights", "--network_weights_2=b"], []],
  ["--dim_from_weights", [], ["--network_weights=a"]],
  ["--dim_from_weights", ["--network_weights=a", "--freeze_network_1"], ["--network_weights_2=a"]],
  ["--base_weights_multiplier=2", [], ["--base_weights=a"]],
  // Training.
  ["--max_train_steps=9", ["--max_train_epochs=2"], []],
  ["--learning_rate=1e-3", ["--unet_lr=1e-4", "--text_encoder_lr=1e-5"], ["--unet_lr=1e-4"]],
  // A number that is the same one more.
  ["--learning_rate=1e30", ["--unet_lr=1e-4", "--text_encoder_lr=1e-5"], []],
  ["--learning_rate=1e-3", ["--unet_lr=1e-4", "--network_train_unet_only"], ["--network_train_unet_only"]],
  ["--learning_rate=1e-3", ["--optimizer_type=AdaFactor"], [
    ...["--optimizer_type=AdaFactor", "--optimizer_args", "relative_step=False"],
  ]],
  ["--learning_rate=1e-3", ["--network_weights=a", "--freeze_network_1", "--learning_rate_2=1e-4"], [
    ...["--freeze_network_1", "--learning_rate_2=1e-4"],
  ]],
  ["--learning_rate_2=1e-3", ["--unet_lr_2=1e-4", "--text_encoder_lr_2=1e-5"], ["--unet_lr_2=1e-4"]],
  ["--unet_lr=1e-3", ["--network_train_text_encoder_only"], []],
  ["--unet_lr_2=1e-3", ["--network_train_text_encoder_only"], []],
  ["--text_encoder_lr=1e-3", ["--network_train_unet_only"], []],
  ["--text_encoder_lr=1e-3", ["--optimizer_type=adafactor"], []],
  ["--text_encoder_lr_2=1e-3", ["--network_train_unet_only"], []],
  ["--text_encoder_lr=0", ["--network_train_unet_only"], ["--optimizer_type=adafactor"]],
  ["--lr_scheduler=cosine", ["--optimizer_type=AdaFactor"], []],
  ["--lr_scheduler_2=cosine", ["--optimizer_type_2=AdaFactor"], []],
  ["--lr_warmup_steps=5", [], ["--lr_scheduler=cosine"]],
  ["--lr_warmup_steps=5", ["--optimizer_type=AdaFactor", "--lr_scheduler=adafactor"], [
    "--lr_scheduler=constant_with_warmup",
  ]],
  ["--lr_warmup_steps_2=5", ["--lr_scheduler=linear", "--lr_scheduler_2=constant"], ["--lr_scheduler_2=linear"]],
  ["--lr_scheduler_unit=batch", ["--lr_scheduler=linear"], [
    ...["--lr_scheduler=linear", "--gradient_accumulation_steps=2"],
  ]],
  ["--lr_scheduler_unit=batch", ["--gradient_accumulation_steps=2"], [
    ...["--gradient_accumulation_steps=2", "--lr_scheduler_2=linear"],
  ]],
  ...["", "_2"].flatMap((end): Case[] => [
    [`--lr_scheduler_num_cycles${end}=2`, ["--lr_scheduler=cosine"], ["--lr_scheduler=cosine_with_restarts"]],
    [`--lr_scheduler_power${end}=2`, ["--lr_scheduler=linear"], ["--lr_scheduler=polynomial"]],
    [`--multires_noise_discount${end}=0.5`, [], ["--multires_noise_iterations=6"]],
    [`--huber_c${end}=0.2`, ["--loss_type=l1"], ["--loss_type=huber"]],
    [`--huber_schedule${end}=constant`, [], ["--loss_type=smooth_l1"]],
  ]),
  ...["validation_seed=1", "validate_every_n_epochs=2", "validate_every_n_steps=5", "max_validation_steps=4"].map((
    flag,
  ): Case => [`--${flag}`, [], ["--validation_split=0.5"]]),
  // What is left behind.
  ["--save_every_n_epochs=2", ["--save_n_epoch_ratio=3"], []],
  ["--save_last_n_epochs=2", ["--save_every_n_epochs=0"], []],
  ["--save_last_n_epochs_state=2", [], ["--save_state"]],
  ["--save_last_n_steps=2", [], ["--save_every_n_steps=5"]],
  ["--save_last_n_steps_state=2", ["--save_state"], ["--save_state", "--save_every_n_steps=5"]],
  ["--save_last_n_steps_state=2", ["--save_every_n_steps=5"], ["--save_state", "--save_every_n_steps=5"]],
  ["--training_comment=a", ["--no_metadata"], []],
  ["--training_comment=a", ["--save_model_as=pt"], []],
  ["--no_metadata", ["--save_model_as=ckpt"], []],
  ["--sample_every_n_steps=5", ["--sample_every_n_epochs=1", "--sample_prompts=p"], ["--sample_prompts=p"]],
  ["--sample_prompts=p", [], ["--sample_every_n_steps=5"]],
  ["--sample_sampler=euler", ["--sample_prompts=p"], ["--sample_every_n_epochs=1", "--sample_prompts=p"]],
  ...["log_prefix=a", "log_prefix_2=a", "logging_dir_2=a", "log_tracker_name=a"].map((flag): Case => [
    `--${flag}`,
    ["--logging_dir="],
    [],
  ]),
];

const nameOf = (word: string) => word.replace(/^--|=.*$/g, "");

async function inFolderWithDatasets(test: (file: (word: string) => string) => Promise<void>): Promise<void> {
  await inNewFolder(async (folder) => {
    const file = join(folder, "data.toml");
    await writeFile(
      file,
      '[[datasets]]\n[[datasets.subsets]]\nimage_dir = "a"\nkeep_tokens = 1\nshuffle_caption = true\n',
    );
    await test((word) => word.replace("FILE", file));
  });
}

Deno.test("a flag that is read and decides nothing beside the others is found, and not where it decides something", () =>
  inFolderWithDatasets(async (named) => {
    for (const [flag, idle, deciding] of cases) {
      const found = async (line: readonly string[]) =>
        (await idleFlags(await settingsOfLine(line.map(named)))).includes(nameOf(flag) as never);
      // Epochs are not saved after in `alone`, where nothing is said.
      const base = idle.includes("--save_every_n_epochs=0") ? alone : pair;
      const without = idle.filter((word) => word !== "--save_every_n_epochs=0");
      ok(await found([...base, flag, ...without]), `${flag} decides something beside ${idle.join(" ") || "nothing"}`);
      ok(
        !await found([...pair, flag, ...deciding]),
        `${flag} decides nothing beside ${deciding.join(" ") || "nothing"}`,
      );
    }
  }));

Deno.test("of each flag that counts only beside others by the table, both were tried above", () => {
  const tried = new Set(cases.map(([flag]) => nameOf(flag))), table = [...flagsByName.values()];
  deepEqual(table.filter(({ name, counts }) => counts && !tried.has(name)).map(({ name }) => name), []);
  deepEqual([...tried].filter((name) => !flagsByName.get(name)?.counts), []);
});

Deno.test("a note names the flag and the reason", () =>
  inFolderWithDatasets(async (named) => {
    const notesOf = async (...line: string[]) => {
      const settings = await settingsOfLine(line.map(named));
      return idleNotes(settings, await idleFlags(settings));
    };
    const isAlone = "one network is trained alone, as there are no data for network 2";
    deepEqual(
      await notesOf(...alone, "--reg_data_dir_2=a", "--anneal_epoch=2", "--network_dim_2=3", "--keep_tokens=1"),
      [
        `--reg_data_dir_2 decides nothing in this run: ${isAlone}`,
        "--keep_tokens decides nothing in this run: it counts only with --shuffle_caption or --caption_tag_dropout_rate",
        `--anneal_epoch decides nothing in this run: ${isAlone}`,
        `--network_dim_2 decides nothing in this run: ${isAlone}`,
      ],
    );
    // The file says it for its only subset.
    deepEqual(
      await notesOf(
        ...pair.filter((word) => !/^--train_data_dir=/.test(word)),
        "--dataset_config=FILE",
        "--keep_tokens=3",
        "--keep_tokens_2=0",
      ),
      [
        "--keep_tokens decides nothing in this run: it counts only with --shuffle_caption or --caption_tag_dropout_rate; " +
        `what ${named("FILE")} says comes first; network 2 has --keep_tokens_2, and network 1 has no use for it`,
        "--keep_tokens_2 decides nothing in this run: it counts only with --shuffle_caption or --caption_tag_dropout_rate",
      ],
    );
    deepEqual(
      await notesOf(
        ...pair,
        "--network_weights=a",
        "--freeze_network_1",
        "--optimizer_type_2=Lion",
        "--max_grad_norm=2",
        "--max_grad_norm_2=3",
      ),
      [
        "--optimizer_type decides nothing in this run: network 2 has --optimizer_type_2, and network 1 has no use for it",
        "--max_grad_norm decides nothing in this run: network 2 has --max_grad_norm_2, and network 1 has no use for it",
      ],
    );
    // What repeats a default asks for nothing; what the table means is said elsewhere; training waits for the run that trains.
    deepEqual(
      await notesOf(...pair, "--half_annel_epoch=0", "--prior_loss_weight=1.0", "--xformers", "--cache_latents"),
      [],
    );
    deepEqual(await notesOf(...pair, "--debug_dataset", "--seed=3", "--huber_c=2"), []);
  }));

Deno.test("a note says that no state is saved while network 1 is pretrained, where that is so", async () => {
  const shown: string[] = [], { log, error } = console;
  const isTold = async (...line: string[]) => {
    shown.length = 0;
    await runCommandLine(["train", ...line, "--save_state", "--print_recipe"]);
    return shown.includes("Note: --save_state saves none while network 1 is pretrained: a state is of both networks");
  };
  Object.assign(console, { log() {}, error: (text: string) => void shown.push(text) });
  try {
    equal(await isTold(...pair, "--freeze_network_1"), true);
    equal(await isTold(...pair, "--semi_freeze_network_1"), true);
    equal(await isTold(...pair, "--freeze_network_1", "--network_weights=a"), false);
    equal(await isTold(...pair), false);
    equal(await isTold(...alone), false);
  } finally {
    Object.assign(console, { log, error });
  }
});
