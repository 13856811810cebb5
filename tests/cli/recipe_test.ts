import { deepEqual, equal, notDeepEqual, ok, rejects } from "node:assert/strict";
import { commandFlags } from "../../cli/flags/command.ts";
import { flagsByName } from "../../cli/flags/table.ts";
import { idleFlags } from "../../cli/recipe/idle_flags.ts";
import { planRecipe } from "../../cli/recipe/plan_recipe.ts";
import { recipeScript } from "../../cli/recipe/recipe_script.ts";
import { recipeOf, type StepName } from "../../cli/recipe/step_calls.ts";
import * as things from "../../steps/things.ts";
import { settingsOfLine } from "./parse_line.ts";

/** Two networks, with an optimizer that is there. */
const pair = [
  ...["--pretrained_model_name_or_path=base", "--output_dir=out", "--output_name=name", "--optimizer_type=AdamW"],
  ...["--train_data_dir=one", "--train_data_dir_2=two"],
];

/** Flags, the step whose options they decide, and those options. */
type Case = readonly [line: readonly string[], step: StepName, options: Readonly<Record<string, unknown>>];

const { network1, network2 } = things;
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

/** Flags that decide a setting of a data set, for both networks and for network 2 alone. */
const datasetCases: readonly (readonly [flag: string, value: string, option: string, expected: unknown])[] = [
  ["train_batch_size", "3", "batchSize", 3],
  ["resolution", "256", "resolution", 256],
  ["resolution", "256,384", "resolution", [256, 384]],
  ["enable_bucket", "True", "enableBucket", true],
  ["min_bucket_reso", "128", "minBucketReso", 128],
  ["max_bucket_reso", "768", "maxBucketReso", 768],
  ["bucket_reso_steps", "32", "bucketResoSteps", 32],
  ["bucket_no_upscale", "True", "bucketNoUpscale", true],
  ["prior_loss_weight", "0.5", "priorLossWeight", 0.5],
  ["caption_extension", ".txt", "captionExtension", ".txt"],
  ["shuffle_caption", "True", "shuffleCaption", true],
  ["keep_tokens", "2", "keepTokens", 2],
  ["caption_dropout_rate", "0.5", "captionDropoutRate", 0.5],
  ["caption_dropout_every_n_epochs", "2", "captionDropoutEveryNEpochs", 2],
  ["caption_tag_dropout_rate", "0.5", "captionTagDropoutRate", 0.5],
  ["token_warmup_min", "3", "tokenWarmupMin", 3],
  ["token_warmup_step", "0.5", "tokenWarmupStep", 0.5],
  ["flip_aug", "True", "flipAug", true],
  ["color_aug", "True", "colorAug", true],
  ["random_crop", "True", "randomCrop", true],
  ["face_crop_aug_range", "2.0,4.5", "faceCropAugRange", [2, 4.5]],
];

/** The same for settings of a network and its training. */
const networkCases:
  readonly (readonly [flag: string, value: string, option: string, expected: unknown, usual?: unknown])[] = [
    ["network_dim", "8", "rank", 8, 64],
    ["network_alpha", "0.5", "alpha", 0.5, 64],
    ["learning_rate", "1e-4", "learningRate", 1e-4, 2e-6],
    ["unet_lr", "1e-4", "unetLearningRate", 1e-4],
    ["text_encoder_lr", "0", "textEncoderLearningRate", 0],
    ["lr_scheduler", "cosine", "schedule", "cosine"],
    ["lr_warmup_steps", "5", "warmupSteps", 5],
    ["lr_scheduler_num_cycles", "3", "scheduleCycles", 3],
    ["lr_scheduler_power", "0.5", "schedulePower", 0.5],
    ["optimizer_type", "Prodigy", "optimizer", "Prodigy"],
    ["max_grad_norm", "0", "maxGradNorm", 0],
    ["min_snr_gamma", "5", "minSnrGamma", 5],
    ["network_dropout", "0.1", "dropout", 0.1],
    ["scale_weight_norms", "1", "maxWeightNorm", 1],
    ["noise_offset", "0.1", "noiseOffset", 0.1],
    ["multires_noise_iterations", "6", "multiresNoiseIterations", 6],
    ["multires_noise_discount", "0.8", "multiresNoiseDiscount", 0.8],
    ["loss_type", "huber", "lossType", "huber"],
    ["huber_c", "0.5", "huberC", 0.5],
    ["huber_schedule", "constant", "huberSchedule", "constant"],
  ];

/** Flags that decide nothing but whether something is refused. */
const onlyRefuse: readonly string[] = ["network_module"];
/** Flags with a test of their own, dataset_config_test.ts. */
const elsewhere = ["dataset_config", "dataset_config_2"];

/** The options that a line gives a step; undefined where the recipe has no such step. */
async function optionsOf(line: readonly string[], step: StepName): Promise<Record<string, unknown> | undefined> {
  const settings = await settingsOfLine(line), plan = await planRecipe(settings);
  // Each step takes what it is handed.
  recipeOf(plan);
  deepEqual(await idleFlags(settings), [], line.join(" "));
  return plan.calls.find(([name]) => name === step)?.[1] as Record<string, unknown> | undefined;
}

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

/** What a setting of a data set needs beside it to decide anything. */
function besideData(flag: string): string[] {
  if (flag.includes("bucket") && flag !== "enable_bucket") return ["--enable_bucket"];
  const beside: Record<string, string[]> = {
    prior_loss_weight: ["--reg_data_dir=r", "--reg_data_dir_2=r"],
    keep_tokens: ["--shuffle_caption"],
    token_warmup_min: ["--token_warmup_step=5"],
  };
  return beside[flag] ?? [];
}

Deno.test("each setting of a data set is for both networks, or with _2 for network 2", async (t) => {
  for (const [flag, value, option, expected] of datasetCases) {
    await t.step(`${flag}=${value}`, async () => {
      // A switch has no value; its _2 has, so that network 2 can be without.
      const isSwitch = flagsByName.get(flag)!.type === "switch";
      const beside = besideData(flag);
      const both = await optionsOf(
        [...pair, ...beside, isSwitch ? `--${flag}` : `--${flag}=${value}`],
        "readDatasets",
      );
      const second = await optionsOf([...pair, ...beside, `--${flag}_2=${value}`], "readDatasets");
      const found = [both, second].map((options) =>
        [options?.network1, options?.network2].map((list) => (list as Record<string, unknown>[])[0][option])
      );
      const usual = { resolution: 512, captionExtension: ".caption" }[option];
      deepEqual(found, [[expected, expected], [usual, expected]]);
      if (!isSwitch) return;
      const off = await optionsOf([...pair, ...beside, `--${flag}`, `--${flag}_2=False`], "readDatasets");
      deepEqual((off?.network2 as Record<string, unknown>[])[0][option], undefined);
    });
  }
});

/** Two networks with what a flag needs beside it to decide anything. */
function pairFor(flag: string): string[] {
  const beside: Record<string, string> = {
    lr_warmup_steps: "--lr_scheduler=linear",
    lr_scheduler_num_cycles: "--lr_scheduler=cosine_with_restarts",
    lr_scheduler_power: "--lr_scheduler=polynomial",
    multires_noise_discount: "--multires_noise_iterations=6",
    huber_c: "--loss_type=smooth_l1",
    huber_schedule: "--loss_type=smooth_l1",
  };
  return [...pair, ...flag in beside ? [beside[flag]] : []];
}

Deno.test("each setting of a network is for both networks, or with _2 for network 2", async (t) => {
  for (const [flag, value, option, expected, usual] of networkCases) {
    await t.step(`${flag}=${value}`, async () => {
      const pair = pairFor(flag), both = await optionsOf([...pair, `--${flag}=${value}`], "trainBoth");
      deepEqual([both?.[option], both?.network2], [expected, undefined]);
      const second = await optionsOf([...pair, `--${flag}_2=${value}`], "trainBoth");
      deepEqual([second?.[option], second?.network2], [usual, { [option]: expected }]);
      // Network 1's value counts for network 2 until it has one of its own.
      const line = [...pair, "--freeze_network_1", `--${flag}=${value}`];
      deepEqual((await optionsOf(line, "pretrainNetwork1"))?.[option], expected);
      deepEqual((await optionsOf(line, "trainNetwork2"))?.[option], expected);
      const own = [...pair, "--freeze_network_1", `--${flag}_2=${value}`];
      deepEqual((await optionsOf(own, "pretrainNetwork1"))?.[option], usual);
      deepEqual((await optionsOf(own, "trainNetwork2"))?.[option], expected);
    });
  }
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

Deno.test("values that nothing can be made of are refused by name", async () => {
  const messages: [string[], string][] = [
    [
      ["--resolution=512,512,512"],
      '--resolution is "512,512,512", must be one size in pixels or width,height, such as 512 or 512,768',
    ],
    [["--network_args", "conv_dim"], '--network_args has "conv_dim", must be name=value, such as conv_dim=…'],
    [["--network_args", "conv_dim=x"], '--network_args: conv_dim is "x", must be a whole number'],
    [
      ["--network_args", "dropout=0.1", "--network_dropout=0.2"],
      "--network_args has dropout, which --network_dropout gives as well: give one of them",
    ],
    [["--network_args", "conv_alpha=1"], "--network_args has conv_alpha, which needs conv_dim as well"],
    [
      ["--network_module=lycoris.kohya"],
      "--network_module=lycoris.kohya is refused: networks.lora is the only kind of network there is",
    ],
    [
      ["--network_train_unet_only", "--network_train_text_encoder_only"],
      "--network_train_unet_only and --network_train_text_encoder_only together leave nothing to train",
    ],
    [["--use_lion_optimizer"], "--use_lion_optimizer and --optimizer_type each name the optimizer: give one of them"],
    [
      ["--optimizer_args", "weight_decay"],
      '--optimizer_args has "weight_decay", must be name=value, such as weight_decay=0.1',
    ],
    [["--optimizer_args", "eps=1", "eps=2"], "--optimizer_args has eps twice"],
    [["--optimizer_args", "betas=(0.9"], '--optimizer_args has "betas=(0.9": a value is missing at the end'],
    [
      ["--network_args", "conv_dim=4", "--network_args_2"],
      "--network_args_2 leaves out what network 1 has (conv_dim): trained side by side, network 2 has all that network 1 has, with values of its own",
    ],
    [
      ["--base_weights=a", "--base_weights_multiplier", "1", "2"],
      "--base_weights_multiplier has 2 numbers for 1 files of --base_weights",
    ],
    [["--base_weights=a", "--base_weights_multiplier", "x"], '--base_weights_multiplier has "x", must be numbers'],
    [
      ["--freeze_network_1", "--output_name_2=Name_Pretrain"],
      '--output_name_2 is "Name_Pretrain": network 1\'s own training, before it is frozen, leaves its files under that name; ' +
      "choose another",
    ],
    [
      [
        ...["--freeze_network_1", "--output_name=", "--output_name_2=pretrain", "--save_every_n_epochs=0"],
        ...["--sample_every_n_steps=5", "--sample_prompts=p.txt"],
      ],
      '--output_name_2 is "pretrain": network 1\'s own training, before it is frozen, leaves its files under that name; ' +
      "choose another",
    ],
    [["--sample_every_n_steps=5"], "--sample_every_n_steps needs --sample_prompts, a file with a prompt on each line"],
    [
      ["--log_with=wandb"],
      "--log_with=wandb is refused: nothing here is sent over the network; use tensorboard, whose files wandb can import",
    ],
    [
      ["--log_with=tensorboard", "--logging_dir="],
      "--log_with=tensorboard needs --logging_dir, the folder of the logs",
    ],
  ];
  for (const [line, message] of messages) {
    const settings = await settingsOfLine([...pair, ...line]);
    await rejects(planRecipe(settings), { name: "UsageError", message });
  }
});

Deno.test("a printed recipe names the things it hands on, and every value as it was", async () => {
  const line = [...pair, '--output_dir=a "b" */', "--learning_rate=1e-7", "--orth_te_mask=I"];
  const plan = await planRecipe(await settingsOfLine(line));
  const script = recipeScript(plan, "deno task train */", { door: "./mod.ts" });
  ok(script.startsWith("/**\n * What this command line does:\n * deno task train *\\/\n */\n"));
  ok(script.includes("const { network1, network2 } = d.things;"));
  ok(script.includes("learningRate: 1e-7"));
  ok(script.includes('const folder = d.outputFolder("a \\"b\\" */");'));
  ok(script.includes("d.saveNetworks({\n    folder,"), script);
  ok(script.includes("await d.runRecipe(recipe, { folder: `${folder}/name_run` });"));
  ok(script.includes("networks: { network1, network2 }"));
  ok(script.split("\n").every((line) => line.length <= 100), script);
  equal(plan.calls.at(-1)![0], "saveNetworks");
  deepEqual((plan.calls.at(-1)![1] as { networks: unknown }).networks, { network1, network2 });
});
