import { deepEqual, equal, notDeepEqual } from "node:assert/strict";
import { commandFlags } from "../../cli/flags/command.ts";
import { flagsByName } from "../../cli/flags/table.ts";
import { planRecipe } from "../../cli/recipe/plan_recipe.ts";
import type { StepName } from "../../cli/recipe/step_calls.ts";
import * as things from "../../steps/things.ts";
import { networkSettings } from "../../steps/values/training_options.ts";
import { datasetCases, networkCases } from "./network_flags.ts";
import { settingsOfLine } from "./parse_line.ts";
import { optionsOf, pair } from "./planned_options.ts";

/** Flags, the step whose options they decide, and those options. */
type Case = readonly [line: readonly string[], step: StepName, options: Readonly<Record<string, unknown>>];

const { network1 } = things;
/** A number for each of the 25 blocks. */
const numbers = Array.from({ length: 25 }, (_, block) => block + 1), blocks = numbers.join(",");
/** The data sets of `pair`. */
const size = { resolution: 512, captionExtension: ".caption" };
const one = { trainDataDir: "one", ...size }, two = { trainDataDir: "two", ...size };

/** Where `pair` saves. */
const saved = { folder: "out", names: { network1: "name" } };

const cases: readonly Case[] = [
  [["--pretrained_model_name_or_path=a"], "loadBases", { network1: "base", network2: "a" }],
  [["--pretrained_model_name_or_path_2=b"], "loadBases", { network1: "base", network2: "b" }],
  [["--vae=v"], "loadBases", { vae: "v" }],
  [["--base_config=c"], "loadBases", { config: "c" }],
  [["--gradient_checkpointing"], "trainBoth", { gradientCheckpointing: true }],
  [["--base_weights", "a", "b", "--base_weights_multiplier", "0.5"], "loadBases", {
    merge: [{ weights: "a", multiplier: 0.5 }, { weights: "b" }],
  }],
  [["--clip_skip=2"], "loadBases", { clipSkip: 2 }],
  [["--mixed_precision=fp16"], "loadBases", { mixedPrecision: "fp16" }],
  [["--mixed_precision=bf16"], "loadBases", { mixedPrecision: "bf16" }],
  [["--frozen_weights=int8"], "loadBases", { frozenWeights: "int8" }],
  [["--f16_arithmetic", "--mixed_precision=fp16"], "loadBases", { mixedPrecision: "fp16", f16Arithmetic: true }],
  [["--train_data_dir=a"], "readDatasets", { network1: [{ trainDataDir: "a", ...size }], network2: [two] }],
  [["--train_data_dir_2=b"], "readDatasets", { network1: [one], network2: [{ trainDataDir: "b", ...size }] }],
  [["--reg_data_dir=a"], "readDatasets", { network1: [{ ...one, regDataDir: "a" }], network2: [two] }],
  [["--reg_data_dir_2=b"], "readDatasets", { network1: [one], network2: [{ ...two, regDataDir: "b" }] }],
  [["--in_json=j"], "readDatasets", {
    network1: [{ ...size, subsets: [{ imageDir: "one", metadataFile: "j" }] }],
    network2: [two],
  }],
  [["--in_json_2=j", "--dataset_repeats_2=3"], "readDatasets", {
    network1: [one],
    network2: [{ ...size, subsets: [{ imageDir: "two", metadataFile: "j", numRepeats: 3 }] }],
  }],
  [["--in_json=j", "--dataset_repeats=3"], "readDatasets", {
    network1: [{ ...size, subsets: [{ imageDir: "one", metadataFile: "j", numRepeats: 3 }] }],
    network2: [two],
  }],
  [["--caption_extention=.tags"], "readDatasets", {
    network1: [{ ...one, captionExtension: ".tags" }],
    network2: [{ ...two, captionExtension: ".tags" }],
  }],
  [["--seed=7"], "readDatasets", { seed: 7 }],
  [["--seed=7"], "trainBoth", { seed: 7 }],
  [["--max_token_length=225"], "trainBoth", { maxTokenLength: 225 }],
  [["--weighted_captions"], "trainBoth", { weightedCaptions: true }],
  [["--orth_te_coefficient=0.25"], "trainBoth", { orthogonality: { textEncoder: 0.25, unet: 1 } }],
  [["--orth_unet_coefficient=0.25"], "trainBoth", { orthogonality: { textEncoder: 1, unet: 0.25 } }],
  [["--kld_coefficient=-0.5"], "trainBoth", { orthogonality: { textEncoder: 1, unet: 1, divergence: -0.5 } }],
  [["--orth_form=original"], "trainBoth", { orthogonality: { textEncoder: 1, unet: 1, form: "original" } }],
  [["--orth_te_mask=I"], "trainBoth", { orthogonality: { textEncoder: 1, unet: 1, textMask: "I" } }],
  [["--anneal_epoch=3", "--half_annel_epoch=1"], "trainBoth", { annealEpoch: 3, halfAnnealEpoch: 1 }],
  [["--freeze_network_1", "--anneal_epoch=3"], "freezeNetwork1", { mode: "full", annealEpoch: 3 }],
  [["--semi_freeze_network_1"], "freezeNetwork1", { mode: "semi" }],
  [["--freeze_network_1"], "pretrainNetwork1", { steps: 2000, epochs: undefined }],
  [["--freeze_network_1", "--pretrain_steps=5"], "pretrainNetwork1", { steps: 5, epochs: undefined }],
  [["--freeze_network_1", "--pretrain_steps=5", "--max_train_epochs=2"], "trainNetwork2", {
    steps: undefined,
    epochs: 2,
  }],
  [["--freeze_network_1", "--network_dim_2=8"], "trainNetwork2", { rank: 8, alpha: 64 }],
  [["--freeze_network_1", "--network_dim_2=8"], "pretrainNetwork1", { rank: 64 }],
  [["--freeze_network_1", "--network_alpha=3", "--network_alpha_2=2"], "trainNetwork2", { alpha: 2 }],
  [["--freeze_network_1", "--network_alpha=3"], "trainNetwork2", { alpha: 3 }],
  // In sd-scripts' LoRAModule an alpha of 0 is the rank.
  [["--freeze_network_1", "--network_dim=8", "--network_alpha=0"], "trainNetwork2", { alpha: 8 }],
  [["--network_args", "conv_dim=4", "conv_alpha=2"], "trainBoth", { convRank: 4, convAlpha: 2 }],
  [["--freeze_network_1", "--network_args_2", "conv_dim=4"], "trainNetwork2", { convRank: 4 }],
  [["--network_args", "dropout=0.1"], "trainBoth", { dropout: 0.1 }],
  [["--network_args", "dropout=0.1", "--network_dropout_2=0.3"], "trainBoth", {
    dropout: 0.1,
    network2: { dropout: 0.3 },
  }],
  [["--network_args_2", "dropout=0.1", "--network_dropout=0.3"], "trainBoth", {
    dropout: 0.3,
    network2: { dropout: 0.1 },
  }],
  [["--network_args", "rank_dropout=0.1", "module_dropout=0.2"], "trainBoth", { rankDropout: 0.1, moduleDropout: 0.2 }],
  [
    [
      "--network_args",
      "down_lr_weight=0,0.5,1",
      "mid_lr_weight=2",
      "up_lr_weight=cosine+.25",
      "block_lr_zero_threshold=0.1",
    ],
    "trainBoth",
    {
      blocks: { downWeights: [0, 0.5, 1], midWeight: 2, upWeights: "cosine+.25", zeroThreshold: 0.1 },
    },
  ],
  [
    [
      "--network_args",
      `block_dims=${blocks}`,
      `block_alphas=${blocks}`,
      `conv_block_dims=${blocks}`,
      `conv_block_alphas=${blocks}`,
    ],
    "trainBoth",
    {
      blocks: { ranks: numbers, alphas: numbers, convRanks: numbers, convAlphas: numbers },
    },
  ],
  [["--network_weights=a"], "trainBoth", { weights: "a", network2: undefined }],
  [["--network_weights=a", "--dim_from_weights"], "trainBoth", {
    weights: "a",
    ranksFromWeights: true,
    network2: undefined,
  }],
  [["--network_weights_2=a"], "trainBoth", { weights: undefined, network2: { weights: "a" } }],
  [["--network_weights=a", "--network_weights_2=a"], "trainBoth", { weights: "a", network2: { weights: "a" } }],
  [["--network_weights=a", "--freeze_network_1"], "loadNetwork1", { weights: "a" }],
  [["--network_weights=a", "--semi_freeze_network_1"], "loadNetwork1", { weights: "a" }],
  [["--freeze_network_1", "--network_weights_2=b", "--dim_from_weights"], "trainNetwork2", {
    weights: "b",
    ranksFromWeights: true,
  }],
  [["--network_train_unet_only"], "trainBoth", { parts: ["unet"] }],
  [["--network_train_text_encoder_only"], "trainBoth", { parts: ["text_encoder"] }],
  [["--max_train_steps=9"], "trainBoth", { steps: 9 }],
  [["--max_train_epochs=9"], "trainBoth", { epochs: 9, steps: undefined }],
  [["--gradient_accumulation_steps=2"], "trainBoth", { accumulationSteps: 2 }],
  [["--network_args_2", "conv_dim=4", "conv_alpha=2"], "trainBoth", { network2: { convRank: 4, convAlpha: 2 } }],
  [["--optimizer_args", "weight_decay=0.1", "betas=0.9,0.99"], "trainBoth", {
    optimizerArguments: { weight_decay: 0.1, betas: [0.9, 0.99] },
  }],
  [["--optimizer_args_2", "weight_decay=0.1"], "trainBoth", {
    network2: { optimizerArguments: { weight_decay: 0.1 } },
  }],
  [["--use_lion_optimizer", "--optimizer_type="], "trainBoth", { optimizer: "Lion" }],
  [["--lr_scheduler_unit=batch", "--gradient_accumulation_steps=2", "--lr_scheduler=linear"], "trainBoth", {
    scheduleUnit: "batch",
  }],
  [["--v_parameterization"], "trainBoth", { vParameterization: true }],
  [["--zero_terminal_snr"], "trainBoth", { zeroTerminalSnr: true }],
  [["--semi_freeze_network_1", "--anneal_epoch=1", "--learning_rate_2=1e-3"], "trainNetwork2", {
    learningRate: 1e-3,
    network1: { learningRate: 2e-6 },
  }],
  [["--freeze_network_1", "--anneal_epoch=1", "--learning_rate_2=1e-3"], "trainNetwork2", {
    learningRate: 1e-3,
    network1: undefined,
  }],
  [["--checkpoint_every_n_steps=5"], "trainBoth", { checkpointEvery: 5 }],
  [["--cache_latents_to_disk"], "cacheLatents", { folder: "out/latents" }],
  [["--vae_batch_size=4"], "cacheLatents", { batchSize: 4 }],
  [["--random_crop"], "encodeLatents", {}],
  [["--color_aug_2"], "encodeLatents", {}],
  [["--face_crop_aug_range=2.0,4.0"], "encodeLatents", {}],
  [["--random_crop", "--cache_latents"], "cacheLatents", {}],
  [["--debug_dataset"], "debugDataset", { folder: "out", base: "base" }],
  [["--validation_split=0.25", "--validation_seed=3"], "readDatasets", { validationSplit: 0.25, validationSeed: 3 }],
  [
    [
      "--validation_split=0.25",
      "--validate_every_n_epochs=2",
      "--validate_every_n_steps=5",
      "--max_validation_steps=4",
    ],
    "trainBoth",
    {
      ...{ validateEveryEpochs: 2, validateEverySteps: 5, maxValidationBatches: 4 },
    },
  ],
  [["--max_skipped_steps=3"], "trainBoth", { maxSkippedInRow: 3 }],
  [["--use_8bit_adam", "--optimizer_type="], "trainBoth", { optimizer: "AdamW8bit" }],
  [["--output_dir=a"], "saveNetworks", { folder: "a" }],
  [["--output_name=a"], "saveNetworks", { names: { network1: "a", network2: "a_2" } }],
  [["--output_name_2=b"], "saveNetworks", { names: { network1: "name", network2: "b" } }],
  [["--save_precision=fp16"], "saveNetworks", { precision: "fp16" }],
  [["--save_model_as=ckpt"], "saveNetworks", { format: "ckpt" }],
  [["--training_comment=a b"], "saveNetworks", { comment: "a b" }],
  [["--no_metadata"], "saveNetworks", { metadata: false }],
  [
    ["--output_name_2=b", "--save_precision=bf16", "--training_comment=c"],
    "trainBoth",
    {
      save: {
        ...saved,
        names: { network1: "name", network2: "b" },
        ...{ everyEpochs: 1, precision: "bf16", comment: "c" },
      },
    },
  ],
  [["--no_metadata"], "trainBoth", { save: { ...saved, everyEpochs: 1, metadata: false } }],
  [["--save_model_as=pt"], "trainBoth", { save: { ...saved, everyEpochs: 1, format: "pt" } }],
  [["--save_every_n_epochs=2", "--save_last_n_epochs=3"], "trainBoth", {
    save: { ...saved, everyEpochs: 2, lastEpochs: 3 },
  }],
  [["--save_every_n_steps=50", "--save_last_n_steps=100"], "trainBoth", {
    save: { ...saved, everyEpochs: 1, everySteps: 50, lastSteps: 100 },
  }],
  [["--save_n_epoch_ratio=4"], "trainBoth", { save: { ...saved, timesPerRun: 4 } }],
  [
    ["--save_state", "--save_every_n_steps=3", "--save_last_n_epochs_state=1", "--save_last_n_steps_state=9"],
    "trainBoth",
    {
      save: { ...saved, everyEpochs: 1, everySteps: 3, state: true, lastEpochsState: 1, lastStepsState: 9 },
    },
  ],
  [["--logging_dir=l", "--logging_dir_2=m", "--log_prefix=a", "--log_prefix_2=b"], "trainBoth", {
    logs: { folder: "l", folder2: "m", prefix: "a", prefix2: "b" },
  }],
  [["--freeze_network_1", "--log_prefix=a_"], "pretrainNetwork1", {
    logs: { folder: "log_kld", prefix: "a_pretrain_" },
  }],
  [["--log_with=tensorboard", "--log_tracker_name=t"], "trainBoth", { logs: { folder: "log_kld", name: "t" } }],
  [["--sample_every_n_steps=5", "--sample_prompts=p.txt", "--sample_sampler=euler_a"], "trainBoth", {
    samples: { ...saved, prompts: "p.txt", everySteps: 5, sampler: "euler_a" },
  }],
  [["--sample_every_n_epochs=2", "--sample_prompts=p.txt"], "trainBoth", {
    samples: { ...saved, prompts: "p.txt", everyEpochs: 2 },
  }],
  [["--resume=name-state"], "trainBoth", { resume: "name-state" }],
  [["--freeze_network_1", "--save_state", "--resume=name-state"], "trainNetwork2", {
    save: { ...saved, everyEpochs: 1, state: true },
    resume: "name-state",
  }],
  // The state holds network 1.
  [["--freeze_network_1", "--save_state", "--resume=name-state"], "loadNetwork1", { state: "name-state" }],
  [["--freeze_network_1", "--resume=name-state", "--network_weights=a"], "loadNetwork1", { weights: "a" }],
  [["--freeze_network_1", "--save_state", "--save_last_n_epochs_state=1"], "pretrainNetwork1", {
    save: { folder: "out", names: { network1: "name_pretrain" }, everyEpochs: 1 },
    resume: undefined,
  }],
  [["--freeze_network_1", "--save_every_n_steps=3", "--output_name="], "pretrainNetwork1", {
    save: { folder: "out", names: { network1: "pretrain" }, everyEpochs: 1, everySteps: 3 },
  }],
  [["--freeze_network_1", "--sample_every_n_steps=5", "--sample_prompts=p.txt"], "pretrainNetwork1", {
    samples: { folder: "out", names: { network1: "name_pretrain" }, prompts: "p.txt", everySteps: 5 },
  }],
];

/** Flags that decide nothing but whether something is refused. */
const onlyRefuse: readonly string[] = ["network_module"];
/** Flags with a test of their own, dataset_config_test.ts. */
const elsewhere = ["dataset_config", "dataset_config_2"];

function picked(options: Record<string, unknown> | undefined, names: readonly string[]) {
  return options && Object.fromEntries(names.map((name) => [name, options[name]]));
}

Deno.test("each flag that works decides an option of a step", async (t) => {
  for (const [line, step, expected] of cases) {
    await t.step(line.join(" "), async () => {
      const names = Object.keys(expected);
      deepEqual(picked(await optionsOf([...pair, ...line], step), names), { ...expected });
      const without = picked(await optionsOf(pair, step), names);
      if (step === "trainBoth") notDeepEqual(without, { ...expected });
    });
  }
});

Deno.test("--save_n_epoch_ratio=0 is the same as unset, as in sd-scripts, which asks whether it is above 0", async () => {
  const options = (line: readonly string[]) => optionsOf([...pair, "--save_every_n_epochs=3", ...line], "trainBoth");
  const unset = await options([]);
  deepEqual(await options(["--save_n_epoch_ratio=0"]), unset);
  deepEqual(unset?.save, { ...saved, everyEpochs: 3 });
});

Deno.test("--scale_weight_norms=0 is the same as unset, as in sd-scripts, which asks whether it is true; network 2 can be without", async () => {
  const options = (...line: readonly string[]) => optionsOf([...pair, ...line], "trainBoth");
  deepEqual(await options("--scale_weight_norms=0"), await options());
  const one = await options("--scale_weight_norms=1", "--scale_weight_norms_2=0");
  deepEqual([one?.maxWeightNorm, one?.network2], [1, { maxWeightNorm: 0 }]);
  equal(networkSettings({ maxWeightNorm: 0 }).maxWeightNorm, undefined);
});

Deno.test("an empty optimizer is AdamW, and the original's default is Lion", async () => {
  const without = pair.filter((word) => !word.startsWith("--optimizer_type"));
  equal((await optionsOf(without, "trainBoth"))?.optimizer, "Lion");
  equal((await optionsOf([...without, "--optimizer_type="], "trainBoth"))?.optimizer, undefined);
});

Deno.test("no flag that works by the table is left out of these tests", () => {
  const tested = new Set([
    ...cases.flatMap(([line]) => line).map((word) => word.replace(/^--|=.*$/g, "")),
    ...[...datasetCases, ...networkCases].flatMap(([flag]) => [flag, `${flag}_2`]),
  ]);
  const missing = [...flagsByName.values()].filter(({ name, status }) =>
    status === "works" && !tested.has(name) && !onlyRefuse.includes(name) && !elsewhere.includes(name) &&
    !commandFlags.flags.some((flag) => flag.name === name)
  );
  deepEqual(missing.map(({ name }) => name), []);
});

Deno.test("one network alone is pretrained and saved, without anything of network 2", async () => {
  const line = ["--pretrained_model_name_or_path=toy", "--train_data_dir=one", "--output_dir=out", "--resolution=64"];
  const plan = await planRecipe(await settingsOfLine(line));
  deepEqual(plan.calls.map(([step]) => step), [
    "loadBases",
    "readDatasets",
    "cacheLatents",
    "pretrainNetwork1",
    "saveNetworks",
  ]);
  deepEqual(plan.calls.at(-1), ["saveNetworks", {
    folder: "out",
    networks: { network1 },
    names: { network1: "last" },
  }]);
  equal(plan.folder, "out/last_run");
});
