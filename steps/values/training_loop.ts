import { rm, stat } from "node:fs/promises";
import { join } from "node:path";
import type { Dataset } from "../../data/dataset.ts";
import { SafetensorsFile, writeSafetensors } from "../../formats/safetensors.ts";
import type { Tokenizer } from "../../models/clip/tokenizer.ts";
import type { StepRun } from "../../pipeline/mod.ts";
import { epochPhase, type FreezeOptions } from "../../training/phases.ts";
import { DivergedError, skipReason } from "../../training/not_finite.ts";
import {
  type StepFigures,
  Trainer,
  type TrainerNetwork,
  type TrainerOptions,
  type TrainerState,
} from "../../training/trainer.ts";
import { type LearningRateOptions, learningRateSchedules } from "../../training/learning_rate.ts";
import type { LoadedBases } from "./bases.ts";
import type { OptionNames } from "./check_options.ts";
import { epochSteps } from "./epoch_batches.ts";
import type { LatentProvider } from "./latents.ts";

export { DivergedError };

/** How long and how to train; sd-scripts' names in brackets. */
export interface TrainingOptions {
  /** Passes over the data (`--max_train_epochs`); `steps` wins. */
  readonly epochs?: number;
  /** Optimizer steps (`--max_train_steps`). */
  readonly steps?: number;
  /** Rate of the optimizer; 1e-4 when left out. */
  readonly learningRate?: number;
  /** `constant` when left out (`--lr_scheduler`). */
  readonly schedule?: LearningRateOptions["schedule"];
  readonly warmupSteps?: number;
  /** Micro-batches per step (`--gradient_accumulation_steps`); 1 when left out. */
  readonly accumulationSteps?: number;
  /** 0: no clipping; 1 when left out (`--max_grad_norm`). */
  readonly maxGradNorm?: number;
  /** 0: off (`--min_snr_gamma`). */
  readonly minSnrGamma?: number;
  /** Decoupled weight decay; 0.01 when left out. */
  readonly weightDecay?: number;
  /** Rows of 77 tokens a prompt may take (`--max_token_length` 75, 150, 225); 75 when left out. */
  readonly maxTokenLength?: 75 | 150 | 225;
  /** Computes each block again for its gradients: about half the memory, a third more time, the same bits; off when left out (`--gradient_checkpointing`). */
  readonly gradientCheckpointing?: boolean;
  /** Seed of timesteps and noise; 1 when left out. */
  readonly seed?: number;
  /** Steps between two checkpoints of the running step; 100 when left out. */
  readonly checkpointEvery?: number;
  /** A step whose loss or gradient is NaN or infinite is skipped; at this many in a row the run stops. 5 when left out. */
  readonly maxSkippedInRow?: number;
}

/** Names of all `TrainingOptions`. */
export const trainingOptionNames: OptionNames<TrainingOptions> = {
  epochs: true,
  steps: true,
  learningRate: true,
  schedule: true,
  warmupSteps: true,
  accumulationSteps: true,
  maxGradNorm: true,
  minSnrGamma: true,
  weightDecay: true,
  maxTokenLength: true,
  gradientCheckpointing: true,
  seed: true,
  checkpointEvery: true,
  maxSkippedInRow: true,
};

/**
 * Checks values before anything runs.
 *
 * @throws {RangeError} Naming the option, what it is and what it must be.
 */
export function checkTraining(options: TrainingOptions): void {
  const refuse = (name: string, value: unknown, wanted: string) => {
    throw new RangeError(
      `Cannot train: ${name} is ${typeof value === "string" ? JSON.stringify(value) : value}, must be ${wanted}`,
    );
  };
  const { epochs, steps, accumulationSteps, checkpointEvery, maxSkippedInRow } = options;
  for (const [name, value] of Object.entries({ epochs, steps, accumulationSteps, checkpointEvery, maxSkippedInRow })) {
    if (value !== undefined && !(Number.isInteger(value) && value > 0)) refuse(name, value, "a whole number above 0");
  }
  const { gradientCheckpointing } = options;
  if (gradientCheckpointing !== undefined && typeof gradientCheckpointing !== "boolean") {
    refuse("gradientCheckpointing", gradientCheckpointing, "true or false");
  }
  const { warmupSteps, seed, maxGradNorm, minSnrGamma, weightDecay } = options;
  for (const [name, value] of Object.entries({ warmupSteps, seed })) {
    if (value !== undefined && !(Number.isSafeInteger(value) && value >= 0)) {
      refuse(name, value, "a whole number from 0 on");
    }
  }
  for (const [name, value] of Object.entries({ maxGradNorm, minSnrGamma, weightDecay })) {
    if (value !== undefined && !(Number.isFinite(value) && value >= 0)) refuse(name, value, "a number from 0 on");
  }
  const { learningRate, schedule, maxTokenLength } = options;
  if (learningRate !== undefined && !(Number.isFinite(learningRate) && learningRate > 0)) {
    refuse("learningRate", learningRate, "a number above 0");
  }
  if (schedule !== undefined && !learningRateSchedules.includes(schedule)) {
    refuse("schedule", schedule, `one of ${learningRateSchedules.join(", ")}`);
  }
  if (maxTokenLength !== undefined && ![75, 150, 225].includes(maxTokenLength)) {
    refuse("maxTokenLength", maxTokenLength, "75, 150 or 225");
  }
}

/** One side of a training run: its data set and how its prompts become ids. */
export interface TrainingSide extends TrainerNetwork {
  readonly dataset: Dataset;
  readonly tokenizer: Tokenizer;
}

/** What a loop gives back: state of all networks, and every step's figures. */
export interface TrainingResult {
  readonly state: TrainerState;
  readonly log: readonly StepFigures[];
}

/** Steps per epoch, epochs and steps in all, from the data and the options. */
export function trainingLength(datasets: readonly Dataset[], options: TrainingOptions) {
  const batches = Math.max(...datasets.map((dataset) => dataset.batchesPerEpoch));
  const stepsPerEpoch = Math.ceil(batches / (options.accumulationSteps ?? 1));
  const totalSteps = options.steps ?? (options.epochs ?? 1) * stepsPerEpoch;
  return { stepsPerEpoch, totalSteps, epochs: Math.ceil(totalSteps / stepsPerEpoch) };
}

/**
 * Trains until the last step, with checkpoints in the step's folder: stopped and started again, it goes on as if it had never stopped.
 *
 * @throws {DivergedError} If figures become NaN or infinite in `maxSkippedInRow` steps in a row; nothing after the last checkpoint is kept.
 */
export async function runTraining(
  bases: LoadedBases,
  sides: readonly TrainingSide[],
  latents: LatentProvider,
  options: TrainingOptions & Pick<TrainerOptions, "form" | "textCoefficient" | "unetCoefficient" | "textMask">,
  freezing: FreezeOptions & { readonly orthogonality?: boolean },
  run: StepRun,
): Promise<TrainingResult> {
  const datasets = sides.map((side) => side.dataset);
  const { stepsPerEpoch, totalSteps, epochs } = trainingLength(datasets, options);
  const seed = options.seed ?? 1, accumulation = options.accumulationSteps ?? 1, every = options.checkpointEvery ?? 100;
  const trainer = new Trainer(bases.device, scheduleOf(bases), sides, {
    ...options,
    seed,
    totalSteps,
    learningRate: {
      learningRate: options.learningRate ?? 1e-4,
      ...(options.schedule ? { schedule: options.schedule } : {}),
      ...(options.warmupSteps ? { warmupSteps: options.warmupSteps } : {}),
    },
    onSkip: (skipped) =>
      run.warn(
        `step ${skipped.step + 1} was skipped: ${skipReason(skipped)}. It changed nothing; ` +
          `${skipped.inRow} in a row, ${skipped.total} in all`,
      ),
  });
  const file = join(run.folder, "checkpoint.safetensors"), log: StepFigures[] = [];
  try {
    const saved = await readCheckpoint(file);
    if (saved) {
      trainer.restore(saved.state);
      log.push(...saved.log);
    }
    const report = (figures: readonly StepFigures[]) => {
      const last = figures.at(-1);
      if (!last) return;
      log.push(...figures);
      run.figures(last.values);
      run.progress({ done: last.step + 1, total: totalSteps, unit: "steps", message: progressText(last) });
    };
    run.progress({ done: trainer.stepsDone, total: totalSteps, unit: "steps", message: "compiling" });
    for (let epoch = Math.floor(trainer.stepsDone / stepsPerEpoch); epoch < epochs; epoch++) {
      const { network1Trains, orthogonalityOn } = epochPhase(epoch, freezing);
      const phase = { network1Trains, orthogonalityOn: orthogonalityOn && freezing.orthogonality !== false };
      const time = { firstStep: epoch * stepsPerEpoch, accumulationSteps: accumulation, maxTrainSteps: totalSteps };
      const steps = epochSteps(sides, latents, epoch, time, options.maxTokenLength ?? 75);
      for (let at = trainer.stepsDone - epoch * stepsPerEpoch; at < steps.length; at++) {
        if (trainer.stepsDone >= totalSteps) break;
        const figures = await trainer.train(epoch, phase, await steps[at]());
        report(figures);
        const isStopping = run.signal.aborted;
        if (isStopping || trainer.stepsDone % every === 0) {
          report(await trainer.readFigures());
          await writeCheckpoint(file, { state: await trainer.save(), log });
        }
        run.signal.throwIfAborted();
      }
    }
    report(await trainer.readFigures());
    const state = await trainer.save();
    for (const { weights } of state.networks) {
      if (!weights.every(Number.isFinite)) throw new DivergedError(trainer.stepsDone - 1, "a weight is not finite", 1);
    }
    await rm(file, { force: true });
    return { state, log };
  } finally {
    trainer.dispose();
  }
}

function progressText({ values }: StepFigures): string {
  const loss = values.loss_2 ?? values.loss_1;
  const terms = ["orth_te", "orth_unet"].filter((name) => name in values).map((name) =>
    `${name} ${values[name].toExponential(1)}`
  );
  return [`loss ${loss.toFixed(4)}`, ...terms].join(", ");
}

function scheduleOf({ network1: { schedule } }: LoadedBases) {
  return {
    trainTimesteps: schedule.betas.length,
    predictionType: schedule.predictionType,
    alphasCumprod: schedule.alphasCumprod,
  };
}

interface Checkpoint {
  readonly state: TrainerState;
  readonly log: readonly StepFigures[];
}

async function writeCheckpoint(file: string, { state, log }: Checkpoint): Promise<void> {
  const tensors = state.networks.flatMap((network, k) =>
    Object.entries(network).map(([name, values]) => ({
      name: `${k}.${name}`,
      type: "F32" as const,
      shape: [values.length],
      bytes: new Uint8Array(values.slice().buffer as ArrayBuffer),
    }))
  );
  const facts = { step: state.step, updates: state.updates, skipped: state.skipped, log };
  await writeSafetensors(file, tensors, { metadata: new Map([["checkpoint", JSON.stringify(facts)]]) });
}

async function readCheckpoint(file: string): Promise<Checkpoint | null> {
  const isThere = await stat(file).then(() => true, (error) => {
    if (error.code === "ENOENT") return false;
    throw error;
  });
  if (!isThere) return null;
  await using opened = await SafetensorsFile.open(file);
  const { step, updates, skipped, log } = JSON.parse(opened.metadata?.get("checkpoint") ?? "null");
  const networks = [];
  for (const k of (updates as number[]).keys()) {
    networks.push({
      weights: await opened.float32(`${k}.weights`),
      firstMoment: await opened.float32(`${k}.firstMoment`),
      secondMoment: await opened.float32(`${k}.secondMoment`),
    });
  }
  return { state: { step, updates, skipped, networks }, log };
}
