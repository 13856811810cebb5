import { type LearningRateSchedule, learningRateSchedules, type ScheduleUnit } from "../../training/learning_rate.ts";
import { type HuberSchedule, huberSchedules, type LossType, lossTypes } from "../../training/loss.ts";
import type { NetworkSettings } from "../../training/network_settings.ts";
import type { OptimizerArguments } from "../../training/optimizers/arguments.ts";
import { checkOptimizer, hasOwnRates } from "../../training/optimizers/optimizers.ts";
import { checkLogs, type LogOptions } from "../outputs/logs.ts";
import { checkSamples, type TrainingSampleOptions } from "../outputs/samples.ts";
import { checkSaving, type SaveOptions } from "../outputs/saving.ts";
import { type MixedPrecision, mixedPrecisions } from "./mixed_precision.ts";
import { checkOptions, type OptionNames } from "./check_options.ts";

/** How a network is trained, as far as two networks of one run may differ; sd-scripts' names in brackets. */
export interface OwnTrainingOptions {
  /** Rate of the optimizer; 1e-4 when left out (`--learning_rate`). */
  readonly learningRate?: number;
  /** Rate of the text encoder's modules, 0 leaves them as they are; `learningRate` when left out (`--text_encoder_lr`). */
  readonly textEncoderLearningRate?: number;
  /** Rate of the UNet's modules, 0 leaves them as they are; `learningRate` when left out (`--unet_lr`). */
  readonly unetLearningRate?: number;
  /** `constant` when left out (`--lr_scheduler`). */
  readonly schedule?: LearningRateSchedule;
  /** Steps over which the rate rises from 0; 0 when left out (`--lr_warmup_steps`). */
  readonly warmupSteps?: number;
  /** Falls of `cosine_with_restarts`; 1 when left out (`--lr_scheduler_num_cycles`). */
  readonly scheduleCycles?: number;
  /** Power of `polynomial`; 1 when left out (`--lr_scheduler_power`). */
  readonly schedulePower?: number;
  /** Name of the optimizer, in any case of letters; AdamW when left out (`--optimizer_type`). */
  readonly optimizer?: string;
  /** Its arguments by the names of the original's package, such as `{ weight_decay: 0.1, betas: [0.9, 0.99] }` (`--optimizer_args`). */
  readonly optimizerArguments?: OptimizerArguments;
  /** 0: no clipping; 1 when left out (`--max_grad_norm`). */
  readonly maxGradNorm?: number;
  /** Largest norm of a module's scaled product, to which its weights are scaled down after each step; 0, no limit, when left out (`--scale_weight_norms`). */
  readonly maxWeightNorm?: number;
  /** 0, off, when left out (`--min_snr_gamma`). */
  readonly minSnrGamma?: number;
  /** Noise that all cells of a channel share is added with this factor; 0, off, when left out (`--noise_offset`). */
  readonly noiseOffset?: number;
  /** Noise of so many resolutions at most is added, each coarser than the one before; 0, off, when left out; without a noise offset only (`--multires_noise_iterations`). */
  readonly multiresNoiseIterations?: number;
  /** Each coarser resolution counts so many times the one before; 0.3 when left out (`--multires_noise_discount`). */
  readonly multiresNoiseDiscount?: number;
  /** `l2` when left out (`--loss_type`). */
  readonly lossType?: LossType;
  /** Least threshold of the Huber losses, above 0; 0.1 when left out (`--huber_c`). */
  readonly huberC?: number;
  /** What the Huber losses' threshold depends on; `snr` when left out (`--huber_schedule`). */
  readonly huberSchedule?: HuberSchedule;
}

/** Names of all `OwnTrainingOptions`. */
export const ownTrainingOptionNames: OptionNames<OwnTrainingOptions> = {
  learningRate: true,
  textEncoderLearningRate: true,
  unetLearningRate: true,
  schedule: true,
  warmupSteps: true,
  scheduleCycles: true,
  schedulePower: true,
  optimizer: true,
  optimizerArguments: true,
  maxGradNorm: true,
  maxWeightNorm: true,
  minSnrGamma: true,
  noiseOffset: true,
  multiresNoiseIterations: true,
  multiresNoiseDiscount: true,
  lossType: true,
  huberC: true,
  huberSchedule: true,
};

/** How long and how to train; sd-scripts' names in brackets. */
export interface TrainingOptions extends OwnTrainingOptions {
  /** Passes over the data (`--max_train_epochs`); `steps` wins. */
  readonly epochs?: number;
  /** Optimizer steps (`--max_train_steps`). */
  readonly steps?: number;
  /** Micro-batches per step (`--gradient_accumulation_steps`); 1 when left out. */
  readonly accumulationSteps?: number;
  /** What moves the schedule and what `warmupSteps` counts: optimizer steps, when left out, or micro-batches, as sd-scripts 0.6.4 does. */
  readonly scheduleUnit?: ScheduleUnit;
  /** Trains for velocity, or for noise, whatever the base says it predicts; the base's own prediction when left out (`--v_parameterization`). */
  readonly vParameterization?: boolean;
  /** Scales the noise schedule so that nothing of the picture is left at the last timestep; false when left out (`--zero_terminal_snr`). */
  readonly zeroTerminalSnr?: boolean;
  /** Rows of 77 tokens a prompt may take (`--max_token_length` 75, 150, 225); 75 when left out. */
  readonly maxTokenLength?: 75 | 150 | 225;
  /** Reads weights in captions, such as `(red hat:1.2)`; off when left out (`--weighted_captions`). */
  readonly weightedCaptions?: boolean;
  /** Computes each block again for its gradients: about half the memory, a third more time, the same bits; off when left out (`--gradient_checkpointing`). */
  readonly gradientCheckpointing?: boolean;
  /** Epochs between two measurements of the held-out pictures' loss; 1 when left out (`--validate_every_n_epochs`). */
  readonly validateEveryEpochs?: number;
  /** Steps between two further measurements; none when left out (`--validate_every_n_steps`). */
  readonly validateEverySteps?: number;
  /** Held-out batches of each network that are measured; all when left out (`--max_validation_steps`). */
  readonly maxValidationBatches?: number;
  /** What activations are stored in: as the bases' weights, when left out (`--mixed_precision`). */
  readonly mixedPrecision?: MixedPrecision;
  /** Seed of timesteps and noise; 1 when left out (`--seed`). */
  readonly seed?: number;
  /** Steps between two checkpoints of the running step; 100 when left out. */
  readonly checkpointEvery?: number;
  /** A step whose loss or gradient is NaN or infinite is skipped; at this many in a row the run stops. 5 when left out. */
  readonly maxSkippedInRow?: number;
  /** What is saved while the training runs; nothing when left out. */
  readonly save?: SaveOptions;
  /** Where the figures are logged, for TensorBoard and as lines of JSON; nowhere when left out. */
  readonly logs?: LogOptions;
  /** Pictures that are made while the training runs; none when left out. */
  readonly samples?: TrainingSampleOptions;
  /** Folder of a state that `save` wrote: the training goes on from it as if it had never stopped (`--resume`). */
  readonly resume?: string;
}

/** Names of all `TrainingOptions`. */
export const trainingOptionNames: OptionNames<TrainingOptions> = {
  ...ownTrainingOptionNames,
  epochs: true,
  steps: true,
  accumulationSteps: true,
  scheduleUnit: true,
  vParameterization: true,
  zeroTerminalSnr: true,
  maxTokenLength: true,
  weightedCaptions: true,
  gradientCheckpointing: true,
  validateEveryEpochs: true,
  validateEverySteps: true,
  maxValidationBatches: true,
  mixedPrecision: true,
  seed: true,
  checkpointEvery: true,
  maxSkippedInRow: true,
  save: true,
  logs: true,
  samples: true,
  resume: true,
};

function refuse(name: string, value: unknown, wanted: string): never {
  const found = typeof value === "number" ? `${value}` : JSON.stringify(value);
  throw new RangeError(`Cannot train: ${name} is ${found}, must be ${wanted}`);
}

type Test = readonly [wanted: string, test: (value: unknown) => boolean];

const count: Test = ["a whole number above 0", (value) => Number.isInteger(value) && value as number > 0];
const wholeFromZero: Test = [
  "a whole number from 0 on",
  (value) => Number.isSafeInteger(value) && value as number >= 0,
];
const fromZero: Test = ["a number from 0 on", (value) => Number.isFinite(value) && value as number >= 0];
const aboveZero: Test = ["a number above 0", (value) => Number.isFinite(value) && value as number > 0];
const yesOrNo: Test = ["true or false", (value) => typeof value === "boolean"];
const oneOf = (values: readonly unknown[]): Test => [`one of ${values.join(", ")}`, (value) => values.includes(value)];

function checkValues<Options extends object>(
  options: Options,
  tests: { readonly [Name in keyof Required<Options>]: Test | null },
  prefix = "",
): void {
  for (const [name, test] of Object.entries(tests) as [keyof Options & string, Test | null][]) {
    const value = options[name];
    if (test && value !== undefined && !test[1](value)) refuse(prefix + name, value, test[0]);
  }
}

/** The rate may be 0 where a part has one of its own: then it leaves the other as it is. */
function checkRate(options: OwnTrainingOptions, prefix = ""): void {
  const { learningRate, textEncoderLearningRate: text = 0, unetLearningRate: unet = 0 } = options;
  const [wanted, test] = text > 0 || unet > 0 ? fromZero : aboveZero;
  if (learningRate !== undefined && !test(learningRate)) refuse(`${prefix}learningRate`, learningRate, wanted);
}

const ownTests: { readonly [Name in keyof Required<OwnTrainingOptions>]: Test | null } = {
  // Depends on the parts' rates.
  learningRate: null,
  textEncoderLearningRate: fromZero,
  unetLearningRate: fromZero,
  schedule: oneOf(learningRateSchedules),
  warmupSteps: wholeFromZero,
  scheduleCycles: count,
  schedulePower: aboveZero,
  optimizer: ["a name", (value) => typeof value === "string"],
  optimizerArguments: [
    "an object",
    (value) => typeof value === "object" && value !== null && !Array.isArray(value),
  ],
  maxGradNorm: fromZero,
  maxWeightNorm: fromZero,
  minSnrGamma: fromZero,
  noiseOffset: fromZero,
  multiresNoiseIterations: wholeFromZero,
  multiresNoiseDiscount: fromZero,
  lossType: oneOf(lossTypes),
  huberC: aboveZero,
  huberSchedule: oneOf(huberSchedules),
};

/**
 * Checks values before anything runs.
 *
 * @throws {RangeError} Naming the option, what it is and what it must be.
 * @throws {TypeError} If the optimizer has no argument of a name.
 */
export function checkTraining(options: TrainingOptions): void {
  checkValues<TrainingOptions>(options, {
    ...ownTests,
    epochs: count,
    steps: count,
    accumulationSteps: count,
    scheduleUnit: oneOf(["step", "batch"]),
    vParameterization: yesOrNo,
    zeroTerminalSnr: yesOrNo,
    maxTokenLength: ["75, 150 or 225", (value) => [75, 150, 225].includes(value as number)],
    weightedCaptions: yesOrNo,
    gradientCheckpointing: yesOrNo,
    validateEveryEpochs: count,
    validateEverySteps: count,
    maxValidationBatches: count,
    mixedPrecision: oneOf(mixedPrecisions),
    seed: wholeFromZero,
    checkpointEvery: count,
    maxSkippedInRow: count,
    save: null,
    logs: null,
    samples: null,
    resume: ["the path of a state's folder", (value) => typeof value === "string" && value !== ""],
  });
  checkRate(options);
  if (options.save) checkSaving("train", options.save);
  if (options.logs) checkLogs("train", options.logs);
  if (options.samples) checkSamples("train", options.samples);
  checkNoise(options);
  checkOptimizer(networkSettings(options));
}

/** sd-scripts 0.6.4 has either kind of noise, not both. */
function checkNoise({ noiseOffset = 0, multiresNoiseIterations = 0 }: OwnTrainingOptions): void {
  if (noiseOffset === 0 || multiresNoiseIterations === 0) return;
  throw new RangeError(
    `Cannot train: noiseOffset is ${noiseOffset} and multiresNoiseIterations ${multiresNoiseIterations}, ` +
      "one of them must be left out (--noise_offset, --multires_noise_iterations)",
  );
}

/**
 * Checks what one network has of its own, beside the options that both have.
 *
 * @param inside The option's name, such as `network2`.
 * @throws As {@link checkTraining}.
 */
export function checkOwnTraining(step: string, own: OwnTrainingOptions, all: TrainingOptions, inside: string): void {
  checkOptions<OwnTrainingOptions>(step, own, ownTrainingOptionNames, inside);
  checkValues<OwnTrainingOptions>(own, ownTests, `${inside}.`);
  checkRate({ ...all, ...own }, `${inside}.`);
  checkNoise({ ...all, ...own });
  checkOptimizer(networkSettings({ ...all, ...own }));
}

/**
 * Whether the optimizer finds its learning rates itself, so that those it is given, and their schedule, decide nothing.
 *
 * @throws {RangeError} If the optimizer does not exist, or an argument is out of range.
 */
export function findsOwnRates(options: OwnTrainingOptions): boolean {
  return hasOwnRates(networkSettings(options).optimizer ?? {});
}

/** The trainer's names for one network's options. */
export function networkSettings(options: OwnTrainingOptions): NetworkSettings {
  const { learningRate = 1e-4, textEncoderLearningRate, unetLearningRate, schedule, warmupSteps } = options;
  const { scheduleCycles, schedulePower, optimizer, optimizerArguments, maxGradNorm, maxWeightNorm } = options;
  const { minSnrGamma, noiseOffset, multiresNoiseIterations, multiresNoiseDiscount } = options;
  const { lossType, huberC, huberSchedule } = options;
  return defined({
    learningRate,
    textEncoderLearningRate,
    unetLearningRate,
    schedule,
    warmupSteps,
    cycles: scheduleCycles,
    power: schedulePower,
    optimizer: defined({ name: optimizer, arguments: optimizerArguments }),
    maxGradNorm,
    maxWeightNorm: maxWeightNorm || undefined,
    loss: defined({
      type: lossType,
      huberC,
      huberSchedule,
      minSnrGamma,
      noiseOffset,
      multiresNoiseIterations,
      multiresNoiseDiscount,
    }),
  });
}

/** The object without what is undefined. */
function defined<Values extends object>(
  values: Values,
): { [Name in keyof Values]: Exclude<Values[Name], undefined> } {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as never;
}
