import type { OrthogonalitySetting } from "../../steps/values/network_training.ts";
import type { TrainingOptions } from "../../steps/values/training_options.ts";
import type { FlagValues } from "../flags/table.ts";
import { pythonFloat } from "../settings/python_numbers.ts";
import { UsageError } from "../usage_error.ts";
import { namedArguments, wrongArgument } from "./arguments.ts";

/** How long and how a network is trained. */
export function trainingOptions(values: FlagValues): TrainingOptions {
  const { max_train_epochs: epochs, max_train_steps: steps, seed, lr_warmup_steps, min_snr_gamma, max_token_length } =
    values;
  const weightDecay = optimizerOf(values);
  return {
    ...(epochs === null ? { steps } : { epochs }),
    learningRate: values.learning_rate,
    // The step knows which schedules there are.
    schedule: values.lr_scheduler as TrainingOptions["schedule"],
    ...(lr_warmup_steps === 0 ? {} : { warmupSteps: lr_warmup_steps }),
    ...(values.gradient_accumulation_steps === 1 ? {} : { accumulationSteps: values.gradient_accumulation_steps }),
    maxGradNorm: values.max_grad_norm,
    ...(min_snr_gamma ? { minSnrGamma: min_snr_gamma } : {}),
    ...(weightDecay === undefined ? {} : { optimizerArguments: { weight_decay: weightDecay } }),
    ...(values.gradient_checkpointing ? { gradientCheckpointing: true } : {}),
    ...(max_token_length === null ? {} : { maxTokenLength: max_token_length }),
    ...(seed === null ? {} : { seed }),
    ...(values.checkpoint_every_n_steps === 100 ? {} : { checkpointEvery: values.checkpoint_every_n_steps }),
  };
}

/** The loss that keeps two networks apart. */
export function orthogonalityOptions(values: FlagValues): Exclude<OrthogonalitySetting, false> {
  const { orth_te_coefficient: textEncoder, orth_unet_coefficient: unet, orth_form, orth_te_mask } = values;
  return {
    textEncoder,
    unet,
    ...(orth_te_mask === "1-I" ? {} : { textMask: orth_te_mask }),
    ...(orth_form === "clean" ? {} : { form: orth_form }),
  };
}

/** The optimizer's weight decay; there is one optimizer so far. */
function optimizerOf({ optimizer_type, optimizer_args }: FlagValues): number | undefined {
  if (!["", "adamw"].includes(optimizer_type.toLowerCase())) {
    throw new UsageError(
      `--optimizer_type=${optimizer_type} is refused: it is not there yet; use --optimizer_type=AdamW`,
    );
  }
  const { weight_decay } = namedArguments("optimizer_args", optimizer_args, ["weight_decay"]);
  if (weight_decay === undefined) return undefined;
  const found = pythonFloat(weight_decay);
  if (found === undefined) throw wrongArgument("optimizer_args", "weight_decay", weight_decay, "a number");
  return found;
}
