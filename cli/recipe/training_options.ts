import type { OrthogonalitySetting } from "../../steps/values/coupling_options.ts";
import type { OwnTrainingOptions, TrainingOptions } from "../../steps/values/training_options.ts";
import type { FlagName, FlagValues } from "../flags/table.ts";
import { type PythonLiteral, pythonLiteral } from "../settings/python_literal.ts";
import { UsageError } from "../usage_error.ts";
import { changed } from "./changed.ts";
import type { OutputOptions } from "./output_options.ts";
import { flagOf, type NetworkSettings, settingsOf } from "./network_settings.ts";

/** How long a run is, and what both networks have in common. */
export function sharedTrainingOptions(
  values: FlagValues,
): Omit<TrainingOptions, keyof OwnTrainingOptions | keyof OutputOptions> {
  const { max_train_epochs: epochs, max_train_steps: steps } = values;
  return {
    ...(epochs === null ? { steps } : { epochs }),
    ...changed({
      accumulationSteps: [values.gradient_accumulation_steps, 1],
      scheduleUnit: [values.lr_scheduler_unit, "step"],
      // The base says what it predicts; the flag insists.
      vParameterization: [values.v_parameterization, false],
      zeroTerminalSnr: [values.zero_terminal_snr, false],
      gradientCheckpointing: [values.gradient_checkpointing, false],
      maxTokenLength: [values.max_token_length, 75],
      weightedCaptions: [values.weighted_captions, false],
      seed: [values.seed, null],
      checkpointEvery: [values.checkpoint_every_n_steps, 100],
      maxSkippedInRow: [values.max_skipped_steps, 5],
    }),
    ...(values.validation_split
      ? changed({
        validateEveryEpochs: [values.validate_every_n_epochs, 1],
        validateEverySteps: [values.validate_every_n_steps, null],
        maxValidationBatches: [values.max_validation_steps, null],
      })
      : {}),
  };
}

/** How one network is trained. */
export function ownTrainingOptions(values: FlagValues, network: 1 | 2): OwnTrainingOptions {
  return { learningRate: settingsOf(values, network).learning_rate, ...changed(ownOptions(values, network)) };
}

/** What a network has otherwise than another. */
export function differingOptions(values: FlagValues, network: 1 | 2, other: 1 | 2): OwnTrainingOptions {
  const others: Readonly<Record<string, readonly [unknown, unknown]>> = ownOptions(values, other);
  const own = Object.entries(ownOptions(values, network)).filter(([name, [value, usual]]) =>
    value !== null && JSON.stringify(value) !== JSON.stringify(others[name][0] ?? usual)
  );
  return Object.fromEntries(own.map(([name, [value]]) => [name, value]));
}

/** All that two networks may have of their own, with the steps' defaults. What decides nothing beside another flag is not looked at. */
function ownOptions(values: FlagValues, network: 1 | 2) {
  const settings = settingsOf(values, network), schedule = settings.lr_scheduler, lossType = settings.loss_type;
  const hasThreshold = lossType === "huber" || lossType === "smooth_l1";
  return {
    learningRate: [settings.learning_rate, null],
    textEncoderLearningRate: [settings.text_encoder_lr, null],
    unetLearningRate: [settings.unet_lr, null],
    // The steps know which schedules and optimizers there are.
    schedule: [schedule as NonNullable<OwnTrainingOptions["schedule"]>, "constant"],
    warmupSteps: [schedule === "constant" ? null : settings.lr_warmup_steps, 0],
    scheduleCycles: [schedule === "cosine_with_restarts" ? settings.lr_scheduler_num_cycles : null, 1],
    schedulePower: [schedule === "polynomial" ? settings.lr_scheduler_power : null, 1],
    optimizer: [optimizerOf(values, network), "AdamW"],
    optimizerArguments: [argumentsOf(settings, flagOf(values, network, "optimizer_args")), null],
    maxGradNorm: [settings.max_grad_norm, 1],
    maxWeightNorm: [settings.scale_weight_norms, 0],
    minSnrGamma: [settings.min_snr_gamma, 0],
    noiseOffset: [settings.noise_offset, 0],
    multiresNoiseIterations: [settings.multires_noise_iterations, 0],
    multiresNoiseDiscount: [settings.multires_noise_iterations ? settings.multires_noise_discount : null, 0.3],
    lossType: [lossType, "l2"],
    huberC: [hasThreshold ? settings.huber_c : null, 0.1],
    huberSchedule: [hasThreshold ? settings.huber_schedule : null, "snr"],
  } as const;
}

/** The loss that keeps two networks apart. */
export function orthogonalityOptions(values: FlagValues): Exclude<OrthogonalitySetting, false> {
  return {
    textEncoder: values.orth_te_coefficient,
    unet: values.orth_unet_coefficient,
    ...changed({
      divergence: [values.kld_coefficient, 0],
      textMask: [values.orth_te_mask, "1-I"],
      form: [values.orth_form, "clean"],
    }),
  };
}

/**
 * Refuses an optimizer that is named in two ways.
 *
 * @throws {UsageError} As sd-scripts would.
 */
export function checkOptimizerFlags(values: FlagValues, given: ReadonlySet<FlagName>): void {
  const named = (["use_8bit_adam", "use_lion_optimizer"] as const).filter((name) => values[name]);
  const typed = given.has("optimizer_type") && values.optimizer_type !== "" ? (["optimizer_type"] as const) : [];
  const all = [...named, ...typed];
  if (all.length > 1 && named.length > 0) {
    throw new UsageError(`${all.map((name) => `--${name}`).join(" and ")} each name the optimizer: give one of them`);
  }
}

function optimizerOf(values: FlagValues, network: 1 | 2): string {
  const { optimizer_type } = settingsOf(values, network), isOwn = network === 2 && values.optimizer_type_2 !== null;
  if (isOwn) return optimizer_type === "" ? "AdamW" : optimizer_type;
  if (values.use_8bit_adam) return "AdamW8bit";
  if (values.use_lion_optimizer) return "Lion";
  return optimizer_type === "" ? "AdamW" : optimizer_type;
}

/** `weight_decay=0.1`, `betas=0.9,0.99`: values as Python writes them. */
function argumentsOf(
  { optimizer_args }: NetworkSettings,
  flag: FlagName,
): Readonly<Record<string, PythonLiteral>> | null {
  if (!optimizer_args?.length) return null;
  const found: Record<string, PythonLiteral> = {};
  for (const word of optimizer_args) {
    const equals = word.indexOf("=");
    if (equals < 0) {
      throw new UsageError(
        `--${flag} has ${JSON.stringify(word)}, must be name=value, such as weight_decay=0.1`,
      );
    }
    const name = word.slice(0, equals).trim();
    if (Object.hasOwn(found, name)) throw new UsageError(`--${flag} has ${name} twice`);
    try {
      found[name] = pythonLiteral(word.slice(equals + 1));
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
      throw new UsageError(`--${flag} has ${JSON.stringify(word)}: ${error.message}`, { cause: error });
    }
  }
  return found;
}
