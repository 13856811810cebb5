import { rm, stat } from "node:fs/promises";
import { join } from "node:path";
import type { Dataset } from "../../data/dataset.ts";
import { SafetensorsFile, writeSafetensors } from "../../formats/safetensors.ts";
import type { Tokenizer } from "../../models/clip/tokenizer.ts";
import type { StepRun } from "../../pipeline/mod.ts";
import type { TrainingNoise } from "../../training/feeds.ts";
import { epochPhase, type FreezeOptions } from "../../training/phases.ts";
import { DivergedError, skipReason } from "../../training/not_finite.ts";
import {
  type StateArray,
  type StepFigures,
  Trainer,
  type TrainerNetwork,
  type TrainerOptions,
  type TrainerState,
} from "../../training/trainer.ts";
import type { LoadedBases, OpenedBases } from "./bases.ts";
import { epochSteps } from "./epoch_batches.ts";
import { HeldOut } from "./held_out.ts";
import type { OpenedLatents } from "./latents.ts";
import type { TrainingOptions } from "./training_options.ts";

export { DivergedError };

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
export function trainingLength(
  datasets: readonly Pick<Dataset, "batchesPerEpoch">[],
  options: Pick<TrainingOptions, "steps" | "epochs" | "accumulationSteps">,
) {
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
  latents: OpenedLatents,
  options:
    & TrainingOptions
    & Pick<TrainerOptions, "form" | "textCoefficient" | "unetCoefficient" | "divergenceCoefficient" | "textMask">,
  freezing: FreezeOptions & { readonly orthogonality?: boolean },
  run: StepRun,
): Promise<TrainingResult> {
  const datasets = sides.map((side) => side.dataset);
  const { stepsPerEpoch, totalSteps, epochs } = trainingLength(datasets, options);
  const seed = options.seed ?? 1, accumulation = options.accumulationSteps ?? 1, every = options.checkpointEvery ?? 100;
  const trainer = new Trainer(bases.device, trainingNoise(bases, options), sides, {
    ...options,
    seed,
    totalSteps,
    onSkip: (skipped) =>
      run.warn(
        `step ${skipped.step + 1} was skipped: ${skipReason(skipped)}. It changed nothing; ` +
          `${skipped.inRow} in a row, ${skipped.total} in all`,
      ),
  });
  const heldOut = new HeldOut(sides, latents, options);
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
        const figures = await trainer.train(epoch, phase, await steps[at]()), step = trainer.stepsDone;
        const moment = { step, epoch, isEpochEnd: at === steps.length - 1, isLast: step === totalSteps };
        report(await heldOut.measure(figures, trainer, moment));
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

/** The noise schedule of a training: the base's, changed by the options. */
export function trainingNoise(
  { network1: { schedule } }: OpenedBases,
  { vParameterization, zeroTerminalSnr = false }: TrainingOptions,
): TrainingNoise {
  const isVelocity = vParameterization ?? schedule.predictionType === "v_prediction";
  return {
    trainTimesteps: schedule.trainTimesteps,
    alphasCumprod: zeroTerminalSnr ? schedule.zeroTerminalAlphas() : schedule.alphasCumprod,
    predictionType: isVelocity ? "v_prediction" : "epsilon",
  };
}

interface Checkpoint {
  readonly state: TrainerState;
  readonly log: readonly StepFigures[];
}

async function writeCheckpoint(file: string, { state, log }: Checkpoint): Promise<void> {
  const tensors = state.networks.flatMap(({ weights, optimizer }, k) =>
    Object.entries({ weights, ...prefixed("optimizer.", optimizer) }).map(([name, values]) => ({
      name: `${k}.${name}`,
      type: values instanceof Uint32Array ? "I32" as const : "F32" as const,
      shape: [values.length],
      bytes: new Uint8Array(values.slice().buffer as ArrayBuffer),
    }))
  );
  const facts = {
    step: state.step,
    skipped: state.skipped,
    optimizers: state.networks.map(({ optimizer }) => Object.keys(optimizer)),
    log,
  };
  await writeSafetensors(file, tensors, { metadata: new Map([["checkpoint", JSON.stringify(facts)]]) });
}

function prefixed<Value>(prefix: string, values: Readonly<Record<string, Value>>): Record<string, Value> {
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [prefix + name, value]));
}

async function readCheckpoint(file: string): Promise<Checkpoint | null> {
  const isThere = await stat(file).then(() => true, (error) => {
    if (error.code === "ENOENT") return false;
    throw error;
  });
  if (!isThere) return null;
  await using opened = await SafetensorsFile.open(file);
  const { step, skipped, optimizers, log } = JSON.parse(opened.metadata?.get("checkpoint") ?? "null");
  const networks = [];
  for (const [k, names] of (optimizers as string[][]).entries()) {
    const optimizer: Record<string, StateArray> = {};
    for (const name of names) optimizer[name] = await readState(opened, `${k}.optimizer.${name}`);
    networks.push({ weights: await opened.float32(`${k}.weights`), optimizer });
  }
  return { state: { step, skipped, networks }, log };
}

async function readState(file: SafetensorsFile, name: string): Promise<StateArray> {
  return file.entry(name).type === "I32" ? new Uint32Array((await file.int32(name)).buffer) : await file.float32(name);
}
