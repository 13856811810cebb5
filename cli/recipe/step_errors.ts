import type { FlagName } from "../flags/table.ts";
import { UsageError } from "../usage_error.ts";

/** The flag that decides an option of a step. */
const flagOfOption: Readonly<Record<string, FlagName>> = {
  clipSkip: "clip_skip",
  resolution: "resolution",
  resolution2: "resolution_2",
  batchSize: "train_batch_size",
  batchSize2: "train_batch_size_2",
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
  weightDecay: "optimizer_args",
  seed: "seed",
  checkpointEvery: "checkpoint_every_n_steps",
  "orthogonality.textEncoder": "orth_te_coefficient",
  "orthogonality.unet": "orth_unet_coefficient",
  annealEpoch: "anneal_epoch",
  halfAnnealEpoch: "half_annel_epoch",
};

/**
 * Runs what makes steps; where a step refuses an option, says which flag it comes from.
 *
 * @throws {UsageError} In place of a step's `RangeError`.
 */
export function withFlagNames<Made>(make: () => Made): Made {
  try {
    return make();
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    // Steps say `Cannot train: learningRate is NaN, must be a number above 0`.
    const option = /: ([\w.]+) is /.exec(error.message)?.[1] ?? "", flag = flagOfOption[option];
    throw new UsageError(flag === undefined ? error.message : `--${flag}: ${error.message}`, { cause: error });
  }
}
