import type { FlagName } from "../flags/table.ts";
import { UsageError } from "../usage_error.ts";

/** The flag that decides an option of a step. */
const flagOfOption: Readonly<Record<string, FlagName>> = {
  clipSkip: "clip_skip",
  resolution: "resolution",
  batchSize: "train_batch_size",
  minBucketReso: "min_bucket_reso",
  maxBucketReso: "max_bucket_reso",
  bucketResoSteps: "bucket_reso_steps",
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
  epochs: "max_train_epochs",
  steps: "max_train_steps",
  learningRate: "learning_rate",
  schedule: "lr_scheduler",
  warmupSteps: "lr_warmup_steps",
  accumulationSteps: "gradient_accumulation_steps",
  maxGradNorm: "max_grad_norm",
  minSnrGamma: "min_snr_gamma",
  seed: "seed",
  checkpointEvery: "checkpoint_every_n_steps",
  "orthogonality.textEncoder": "orth_te_coefficient",
  "orthogonality.unet": "orth_unet_coefficient",
  annealEpoch: "anneal_epoch",
  halfAnnealEpoch: "half_annel_epoch",
};

/**
 * What a step says of an option that it cannot take, with the flag that the option comes from.
 *
 * @param error Of a step that was made or planned: the user has to change something.
 */
export function asUsageError(error: Error): UsageError {
  // Steps say `Cannot train: learningRate is NaN, must be a number above 0`.
  const option = error instanceof RangeError ? /: ([\w.]+) is /.exec(error.message)?.[1] : undefined;
  const flag = option === undefined ? undefined : flagOfOption[option];
  return new UsageError(flag === undefined ? error.message : `--${flag}: ${error.message}`, { cause: error });
}
