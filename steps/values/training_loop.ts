import type { Dataset } from "../../data/dataset.ts";
import type { BaseModel } from "../../models/base_model.ts";
import type { Tokenizer } from "../../models/clip/tokenizer.ts";
import type { StepControl, StepRun } from "../../pipeline/mod.ts";
import type { TrainBatch, TrainingNoise } from "../../training/feeds.ts";
import { type EpochPhase, epochPhase, type FreezeOptions } from "../../training/phases.ts";
import { DivergedError, skipReason } from "../../training/not_finite.ts";
import { ExplosionWatch } from "../../training/explosion_watch.ts";
import {
  type StateArray,
  type StepFigures,
  Trainer,
  type TrainerNetwork,
  type TrainerOptions,
} from "../../training/trainer.ts";
import type { StateFacts } from "../outputs/state_facts.ts";
import type { CheckpointFolder, SavedState } from "../outputs/state_folder.ts";
import {
  momentAt,
  type OwedWork,
  type TrainingContent,
  type TrainingMoment,
  type TrainingOutput,
} from "../outputs/training_output.ts";
import type { LoadedBases, OpenedBases } from "./bases.ts";
import { epochSteps } from "./epoch_batches.ts";
import { StepClock } from "./step_clock.ts";
import { HeldOut } from "./held_out.ts";
import { oneAhead } from "./one_ahead.ts";
import { activationFormat } from "./mixed_precision.ts";
import type { OpenedLatents } from "./latents.ts";
import type { TextOutputs } from "./text_outputs.ts";
import type { TrainingOptions } from "./training_options.ts";

export { DivergedError };

/** One side of a training run: its data set and how its prompts become ids. */
export interface TrainingSide extends TrainerNetwork {
  readonly base: BaseModel;
  readonly dataset: Dataset;
  readonly tokenizer: Tokenizer;
  /** What the text encoder makes of all captions, where no step changes it; null where each step computes it. */
  readonly texts: TextOutputs | null;
}

/** What a loop keeps and leaves behind while it runs. */
export interface TrainingKeeping {
  /** What checkpoints and states belong to. */
  readonly facts: StateFacts;
  readonly outputs: readonly TrainingOutput[];
  readonly checkpoints: CheckpointFolder;
  /** Where it begins: a checkpoint of its own, or a state that it was given; null for the very start. */
  readonly start: SavedState | null;
  /** Hears how long the steps of a phase took. */
  readonly stepTime: (phase: EpochPhase, secondsPerStep: number) => Promise<void>;
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
 * @throws {DivergedError} If figures become NaN, infinite or huge in `maxSkippedInRow` steps in a row; the last checkpoint is kept.
 */
export async function runTraining(
  bases: LoadedBases,
  sides: readonly TrainingSide[],
  latents: OpenedLatents,
  options:
    & TrainingOptions
    & Pick<
      TrainerOptions,
      | "form"
      | "textCoefficient"
      | "unetCoefficient"
      | "divergenceCoefficient"
      | "downCoefficient"
      | "upCoefficient"
      | "hooks"
      | "textMask"
      | "stack"
    >,
  freezing: FreezeOptions & { readonly orthogonality?: boolean },
  { facts, outputs, checkpoints, start, stepTime }: TrainingKeeping,
  run: StepRun,
): Promise<TrainingContent> {
  const datasets = sides.map((side) => side.dataset);
  const length = trainingLength(datasets, options), { totalSteps } = length;
  const seed = options.seed ?? 1, every = options.checkpointEvery ?? 100;
  const trainer = new Trainer(bases.device, trainingNoise(bases, options), sides, {
    ...options,
    seed,
    totalSteps,
    activations: activationFormat(bases, options),
    onSkip: (skipped) =>
      run.warn(
        `step ${skipped.step + 1} was skipped: ${skipReason(skipped)}. It changed nothing; ` +
          `${skipped.inRow} in a row, ${skipped.total} in all`,
      ),
  });
  const heldOut = new HeldOut(sides, latents, options), clock = new StepClock(stepTime);
  const watch = new ExplosionWatch(options.maxSkippedInRow ?? 5);
  const log: StepFigures[] = [];
  const report = async (figures: readonly StepFigures[]) => {
    const last = figures.at(-1);
    if (!last) return;
    figures.forEach((each) => watch.look(each));
    log.push(...figures);
    for (const output of outputs) await output.figures?.(figures);
    for (const { step, epoch, values } of figures) run.figures({ step: step + 1, epoch: epoch + 1, ...values });
    run.progress({ done: last.step + 1, total: totalSteps, unit: "steps", ...progressText(last) });
  };
  const content = async (): Promise<TrainingContent> => {
    const made = { state: await trainer.save(), log: [...log] };
    checkFinite(made);
    return made;
  };
  /** Does what a step's end asks for and tells its figures; a run that is stopped leaves some of it for later. */
  const settle = async (
    moment: TrainingMoment,
    figures: readonly StepFigures[],
    work: readonly OwedWork[],
    wish: ReturnType<StepControl["wish"]> = null,
  ) => {
    let told = figures;
    const saved: string[] = [];
    const owed = [...work], { signal } = run;
    const measure = async () => void (told = await heldOut.measure(figures, trainer, moment, signal));
    if (owed[0] === "validation" && await wasDone(signal, measure)) owed.shift();
    await report(told);
    const made = await content();
    for (const output of outputs.filter(({ writes }) => writes && work.includes(writes))) {
      if (!await wasDone(signal, async () => await output.write!(moment, made))) break;
      owed.shift();
    }
    if (wish === "save") { for (const output of outputs) saved.push(...await output.saveNow?.(moment, made) ?? []); }
    // Behind the outputs: a run that is killed goes on before them. While steps are bad nothing takes the place of the last good checkpoint.
    const isBad = watch.inRow > 0 || made.state.skipped.inRow > 0;
    if (signal.aborted || wish || (moment.step % every === 0 && !isBad)) {
      await checkpoints.write({ content: made, facts, from: start?.from, owed }, { prune: !isBad });
    }
    signal.throwIfAborted();
    if (wish) run.saved(saved);
    if (wish === "pause") await run.control.whilePaused();
  };
  try {
    if (start) {
      const { content: { state, log }, owed = [] } = start;
      trainer.restore(state);
      if (owed.length > 0) await settle(momentAt(state.step, length), log, owed);
      else await report(log);
    }
    run.progress({ done: 0, total: 1, unit: "programs", message: "compiling" });
    const upcoming = upcomingSteps(sides, latents, trainer.stepsDone, length, freezing, options);
    for await (const { epoch, phase, microBatches } of oneAhead(upcoming)) {
      await clock.begin(phase, async () => await report(await trainer.readFigures()));
      const figures = await trainer.train(epoch, phase, microBatches);
      const moment = momentAt(trainer.stepsDone, length), isEarly = clock.waits;
      if (isEarly) await bases.device.idle();
      clock.step();
      const work: OwedWork[] = [
        ...heldOut.isDue(moment) ? ["validation" as const] : [],
        ...outputs.flatMap((output) => output.writes && output.isDue?.(moment) ? [output.writes] : []),
      ];
      if (work.length === 0) await report(figures.splice(0));
      const wish = run.control.wish();
      if (work.length > 0 || moment.step % every === 0 || run.signal.aborted || wish) {
        const told = [...figures, ...await trainer.readFigures()];
        await clock.without(() => settle(moment, told, work, wish));
      } else if (isEarly) run.progress({ done: moment.step, total: totalSteps, unit: "steps" });
    }
    await report(await trainer.readFigures());
    await clock.finish();
    return await content();
  } catch (error) {
    if (!(error instanceof DivergedError)) throw error;
    const { step, reason, firstStep } = error;
    throw new DivergedError(step, reason, {
      inRow: step - firstStep + 1,
      kept: await rescueText(checkpoints, outputs, firstStep),
    });
  } finally {
    trainer.dispose();
    for (const output of outputs) await output.close?.();
  }
}

/** What one optimizer step trains, and on what. */
interface UpcomingStep {
  readonly epoch: number;
  readonly phase: EpochPhase;
  readonly microBatches: readonly (readonly TrainBatch[])[];
}

/** What makes each step that is still to be done, in order. */
function* upcomingSteps(
  sides: readonly TrainingSide[],
  latents: OpenedLatents,
  firstStep: number,
  { stepsPerEpoch, totalSteps, epochs }: ReturnType<typeof trainingLength>,
  freezing: FreezeOptions & { readonly orthogonality?: boolean },
  options: TrainingOptions,
): Generator<() => Promise<UpcomingStep>> {
  const { accumulationSteps = 1 } = options;
  for (let epoch = Math.floor(firstStep / stepsPerEpoch); epoch < epochs; epoch++) {
    const { network1Trains, orthogonalityOn } = epochPhase(epoch, freezing), epochStart = epoch * stepsPerEpoch;
    const phase = { network1Trains, orthogonalityOn: orthogonalityOn && freezing.orthogonality !== false };
    const time = { firstStep: epochStart, accumulationSteps, maxTrainSteps: totalSteps };
    const steps = epochSteps(sides, latents, epoch, time, options);
    for (const make of steps.slice(Math.max(0, firstStep - epochStart), totalSteps - epochStart)) {
      yield async () => ({ epoch, phase, microBatches: await make() });
    }
  }
}

/** Does something unless the user stops it; whether it was done. */
async function wasDone(signal: AbortSignal, work: () => Promise<void>): Promise<boolean> {
  try {
    signal.throwIfAborted();
    await work();
    return true;
  } catch (error) {
    if (signal.aborted && error === signal.reason) return false;
    throw error;
  }
}

/** What is not finite is never kept as if it were good. */
function checkFinite({ state: { step, networks } }: TrainingContent): void {
  for (const { weights, optimizer } of networks) {
    for (const [name, values] of Object.entries<StateArray>({ "a weight": weights, ...optimizer })) {
      if (values.every(Number.isFinite)) continue;
      throw new DivergedError(
        step - 1,
        name === "a weight" ? "a weight is not finite" : `the optimizer's ${name} is not finite`,
      );
    }
  }
}

/**
 * Where a training that diverged can be gone on from.
 *
 * @param firstStep The first of the bad steps.
 */
async function rescueText(
  checkpoints: CheckpointFolder,
  outputs: readonly TrainingOutput[],
  firstStep: number,
): Promise<string> {
  const good = await checkpoints.newest(firstStep), rescuer = outputs.find((output) => output.rescue);
  const step = good?.content.state.step ?? -1, saved = await rescuer?.saved?.(firstStep) ?? null;
  if (saved && saved.step > step) return `The state after step ${saved.step} is ${saved.path}: resume goes on from it`;
  if (!good) return "It came before the first checkpoint (checkpointEvery), so there is nothing to go on from";
  if (rescuer) return `The state after step ${step} is kept in ${await rescuer.rescue!(good)}: resume goes on from it`;
  return `The state after step ${step} is ${
    checkpoints.path(step)
  }: copy it elsewhere, and resume goes on from the copy`;
}

/** The figures that say most, a line for each network; one that is frozen has no loss, nor has a step that was skipped. */
function progressText({ values }: StepFigures): { message?: string; lines: string[] } {
  const texts = (figures: Readonly<Record<string, number | undefined>>, text: (value: number) => string) =>
    Object.entries(figures).flatMap(([name, value]) => value === undefined ? [] : [`${name} ${text(value)}`]).join(
      ", ",
    );
  const lines = [1, 2].flatMap((number) => {
    const losses = { loss: values[`loss_${number}`], "held-out loss": values[`validation_${number}`] };
    const text = texts(losses, (value) => value.toFixed(4));
    return text === "" ? [] : [`network ${number}: ${text}`];
  });
  const { orth_te, orth_unet } = values, message = texts({ orth_te, orth_unet }, (value) => value.toExponential(1));
  return { lines, ...message === "" ? {} : { message } };
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
