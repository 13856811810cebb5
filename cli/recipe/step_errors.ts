import type { FlagName, FlagValues } from "../flags/table.ts";
import { UsageError } from "../usage_error.ts";

/** The flag that decides an option of a step. */
const flagOfOption: Readonly<Record<string, FlagName>> = {
  clipSkip: "clip_skip",
  f16Arithmetic: "f16_arithmetic",
  resolution: "resolution",
  batchSize: "train_batch_size",
  minBucketReso: "min_bucket_reso",
  maxBucketReso: "max_bucket_reso",
  bucketResoSteps: "bucket_reso_steps",
  faceCropAugRange: "face_crop_aug_range",
  captionExtension: "caption_extension",
  numRepeats: "dataset_repeats",
  keepTokens: "keep_tokens",
  captionDropoutRate: "caption_dropout_rate",
  captionDropoutEveryNEpochs: "caption_dropout_every_n_epochs",
  captionTagDropoutRate: "caption_tag_dropout_rate",
  tokenWarmupMin: "token_warmup_min",
  tokenWarmupStep: "token_warmup_step",
  priorLossWeight: "prior_loss_weight",
  rank: "network_dim",
  alpha: "network_alpha",
  convRank: "network_args",
  convAlpha: "network_args",
  rankDropout: "network_args",
  moduleDropout: "network_args",
  dropout: "network_dropout",
  maxWeightNorm: "scale_weight_norms",
  epochs: "max_train_epochs",
  steps: "max_train_steps",
  learningRate: "learning_rate",
  textEncoderLearningRate: "text_encoder_lr",
  unetLearningRate: "unet_lr",
  schedule: "lr_scheduler",
  warmupSteps: "lr_warmup_steps",
  scheduleCycles: "lr_scheduler_num_cycles",
  schedulePower: "lr_scheduler_power",
  noiseOffset: "noise_offset",
  multiresNoiseIterations: "multires_noise_iterations",
  multiresNoiseDiscount: "multires_noise_discount",
  huberC: "huber_c",
  accumulationSteps: "gradient_accumulation_steps",
  maxGradNorm: "max_grad_norm",
  minSnrGamma: "min_snr_gamma",
  seed: "seed",
  validationSplit: "validation_split",
  validationSeed: "validation_seed",
  validateEveryEpochs: "validate_every_n_epochs",
  validateEverySteps: "validate_every_n_steps",
  maxValidationBatches: "max_validation_steps",
  checkpointEvery: "checkpoint_every_n_steps",
  "samples.everyEpochs": "sample_every_n_epochs",
  "samples.everySteps": "sample_every_n_steps",
  everyEpochs: "save_every_n_epochs",
  everySteps: "save_every_n_steps",
  timesPerRun: "save_n_epoch_ratio",
  lastEpochs: "save_last_n_epochs",
  lastSteps: "save_last_n_steps",
  lastEpochsState: "save_last_n_epochs_state",
  lastStepsState: "save_last_n_steps_state",
  maxSkippedInRow: "max_skipped_steps",
  "orthogonality.textEncoder": "orth_te_coefficient",
  "orthogonality.unet": "orth_unet_coefficient",
  "orthogonality.divergence": "kld_coefficient",
  annealEpoch: "anneal_epoch",
  halfAnnealEpoch: "half_annel_epoch",
};

/** How messages begin that name no option, and the flag they are about. */
const flagOfMessage: readonly (readonly [RegExp, FlagName])[] = [
  [/^Cannot sample with /, "sample_sampler"],
  [/^Cannot multiply in f16 on /, "f16_arithmetic"],
  [/^Cannot cache latents: batchSize /, "vae_batch_size"],
  [/^Cannot encode a prompt: clip skip /, "clip_skip"],
  [/^Cannot save networks: both would be called /, "output_name_2"],
  [/^Cannot save networks: network1 and network2 would both be written to /, "output_name_2"],
  [/^Cannot use optimizer /, "optimizer_type"],
  [/: blocks\.\w+ has /, "network_args"],
  [/^Cannot use schedule /, "lr_scheduler"],
  [/^Cannot use \w+: unknown argument /, "optimizer_args"],
  [/^Cannot use \w+: \w+ is /, "optimizer_args"],
];

/**
 * What a step says of an option that it cannot take, with the flag that the option comes from.
 *
 * @param error Of a step that was made or planned: the user has to change something.
 * @param values With these it was thrown.
 * @param prepare Makes and plans the steps with other values, and throws what they say.
 */
export async function asUsageError(
  error: Error,
  values: FlagValues,
  prepare: (values: FlagValues) => Promise<unknown>,
): Promise<UsageError> {
  const { message } = error;
  // Steps say `Cannot train: learningRate is NaN, must be a number above 0`, and `network2.learningRate` of what network 2 has of its own.
  const [, owner, option] = error instanceof RangeError ? /: (?:(\w+)\.)?(\w+) is /.exec(message) ?? [] : [];
  const flag = flagOfMessage.find(([start]) => start.test(message))?.[1] ?? flagOfOption[`${owner}.${option}`] ??
    flagOfOption[option];
  if (flag === undefined) return new UsageError(message, { cause: error });
  const second: string = `${flag}_2`, own = values[second as FlagName] ?? null;
  if (own === null) return new UsageError(`--${flag}: ${message}`, { cause: error });
  // Most messages do not tell of which network the option is: where network 1's value in its place does as badly, it is that one.
  const without = await prepare({ ...values, [second]: null }).then(() => null, (found: Error) => found.message);
  return new UsageError(`--${without === message ? flag : second}: ${message}`, { cause: error });
}
