import type { BatchShape, TrainableBase } from "./denoising.ts";
import {
  type CompiledProgram,
  type Device,
  type FloatFormat,
  type Recorder,
  SlotPool,
  type Variable,
} from "../engine/mod.ts";
import type { LoraNetwork } from "../lora/network.ts";
import type { TextMask } from "../lora/orthogonality.ts";
import type { CouplingOptions } from "./coupling.ts";
import { batchFeeds, drawTimesteps, shapeOf, type TrainBatch, type TrainingNoise } from "./feeds.ts";
import { type ScheduleUnit, stepMultiplier } from "./learning_rate.ts";
import {
  initialValues,
  makeUpdater,
  type NetworkSettings,
  type NetworkUpdater,
  updaterVariables,
} from "./network_settings.ts";
import { DivergedError, findNotFinite, firstNotFinite, type SkippedStep, skipReason } from "./not_finite.ts";
import type { PackedFigures } from "./packed_figures.ts";
import { partRate } from "./parameter_groups.ts";
import type { EpochPhase } from "./phases.ts";
import type { StackOptions } from "./stack_loss.ts";
import { haltFlag, type StepForm, type StepGraph, type StepOptions } from "./step_graph.ts";
import { planned, readEvery, recorderRows, traceTraining, trains } from "./training_program.ts";
import { Validator } from "./validation.ts";
import { rateFeed } from "./step_update.ts";

/** What both networks share. Defaults are sd-scripts'. */
export interface TrainerOptions extends Pick<CouplingOptions, "hooks" | "downCoefficient" | "upCoefficient"> {
  readonly seed: number;
  readonly totalSteps: number;
  readonly form?: StepForm;
  readonly textCoefficient?: number;
  readonly unetCoefficient?: number;
  /** 0, off, when left out. */
  readonly divergenceCoefficient?: number;
  readonly textMask?: TextMask;
  /** What network 2 also learns with both networks in one base; nothing when left out. */
  readonly stack?: StackOptions;
  readonly accumulationSteps?: number;
  /** What moves the learning rates' schedules; `step` when left out. */
  readonly scheduleUnit?: ScheduleUnit;
  /** Off when left out: see `StepOptions`. */
  readonly gradientCheckpointing?: boolean;
  /** f32 when left out: see `StepOptions`. */
  readonly activations?: FloatFormat;
  /** Steps between two readbacks of the figures. */
  readonly readEvery?: number;
  /** Steps in a row that may be skipped because a figure is not finite: at this one the run stops. 5 when left out. */
  readonly maxSkippedInRow?: number;
  /** Hears of every step that was skipped. */
  readonly onSkip?: (skipped: SkippedStep) => void;
}

/** One network to train or to train against. */
export interface TrainerNetwork {
  /** 1 or 2: decides its noise and the names of its figures. */
  readonly number: 1 | 2;
  readonly base: TrainableBase;
  readonly lora: LoraNetwork;
  readonly settings: NetworkSettings;
}

/** The figures of one step: losses, orthogonality terms, gradient norms, learning rates. */
export interface StepFigures {
  /** From 0. */
  readonly step: number;
  readonly epoch: number;
  readonly values: Readonly<Record<string, number>>;
}

/** Numbers of a variable, as the host holds them. */
export type StateArray = Float32Array | Uint32Array;

/** Everything that a run needs, beside its settings and data, to go on as if it had never stopped. */
export interface TrainerState {
  /** Optimizer steps done. */
  readonly step: number;
  /** Steps that were skipped since a figure was not finite: in all, and in a row up to this one. */
  readonly skipped: { readonly total: number; readonly inRow: number };
  /** Flat weights of each network, and its optimizer's state by name; none before the network's first step. */
  readonly networks: readonly { weights: Float32Array; optimizer: Readonly<Record<string, StateArray>> }[];
}

interface Compiled {
  readonly program: CompiledProgram;
  readonly recorder: Recorder;
  readonly figures: PackedFigures;
  /** Names of the figures that decide whether the step counts. */
  readonly deciding: ReadonlySet<string>;
}

/** What one step is made of: enough to run it again. */
interface StepRecipe {
  readonly step: number;
  readonly epoch: number;
  readonly phase: EpochPhase;
  readonly microBatches: readonly (readonly TrainBatch[])[];
}

/** A step on its way, whose figures were not read yet. */
interface QueuedStep extends StepRecipe {
  /** The program of each micro-batch. */
  readonly compiled: readonly Compiled[];
}

/**
 * Replays compiled steps: feeds batches and learning rates, reads figures back rarely and checks them.
 *
 * A step with a figure that is not finite changes nothing, and neither do those that were queued behind it: they are run again once it was seen.
 */
export class Trainer {
  private readonly updaters: readonly NetworkUpdater[];
  private readonly compiled = new Map<string, Compiled>();
  /** Programs run one after another, so their slots are the same buffers. */
  private readonly pool: SlotPool;
  private readonly validator: Validator;
  /** Networks whose optimizers have state on the device: one that never trains needs none. */
  private readonly started = new Set<number>();
  private readonly halted: Variable = haltFlag();
  private readonly waiting: QueuedStep[] = [];
  private skipped = { total: 0, inRow: 0 };
  private step = 0;
  private phase = "";

  constructor(
    private readonly device: Device,
    private readonly noise: TrainingNoise,
    readonly networks: readonly TrainerNetwork[],
    private readonly options: TrainerOptions,
  ) {
    this.updaters = networks.map(({ lora, settings }) => makeUpdater(lora, settings));
    this.pool = new SlotPool(device);
    this.validator = new Validator({ device, pool: this.pool, noise, networks });
  }

  /** Optimizer steps done. */
  get stepsDone(): number {
    return this.step;
  }

  /**
   * Queues one optimizer step.
   *
   * @param microBatches For each micro-batch, each network's batch.
   * @returns Figures of past steps, when this step's turn to read them has come; else none.
   * @throws {DivergedError} If so many of those steps in a row made NaN or infinity that the run stops.
   */
  async train(
    epoch: number,
    phase: EpochPhase,
    microBatches: readonly (readonly TrainBatch[])[],
  ): Promise<StepFigures[]> {
    const step = this.step, key = JSON.stringify(phase), isNewPhase = key !== this.phase;
    // Programs of a phase that is over would keep their buffers to the end.
    const earlier = isNewPhase ? await this.readFigures() : [];
    if (isNewPhase) this.releasePrograms();
    this.phase = key;
    await this.queue({ step, epoch, phase, microBatches });
    this.step++;
    const isDue = this.waiting.length >= readEvery(this.options);
    return isDue ? [...earlier, ...await this.readFigures()] : earlier;
  }

  private async queue(recipe: StepRecipe): Promise<void> {
    const { step, phase, microBatches } = recipe, rates = this.rateFeeds(step), used: Compiled[] = [];
    for (const [micro, batches] of microBatches.entries()) {
      const isLast = micro === microBatches.length - 1;
      const compiled = await this.compile(batches.map(shapeOf), phase, { count: microBatches.length, isLast });
      const { inputs } = compiled.program.program;
      const feeds = { ...this.feeds(batches, this.noiseStep(step, micro)), ...rates };
      // What dead-code elimination dropped, such as a frozen network's target, has no input.
      const needed = Object.fromEntries(Object.entries(feeds).filter(([name]) => inputs.has(name)));
      compiled.program.run(needed, { record: [compiled.recorder] });
      used.push(compiled);
    }
    this.waiting.push({ ...recipe, compiled: used });
  }

  /**
   * Waits for the device and reads the figures of all steps since the last time, those that were skipped left out. A loss is the mean of its micro-batches'.
   *
   * @throws {DivergedError} If so many of them in a row made NaN or infinity that the run stops.
   */
  async readFigures(): Promise<StepFigures[]> {
    const found: StepFigures[] = [];
    while (this.waiting.length) {
      const queued = this.waiting.splice(0), rows = new Map<Compiled, ArrayLike<number>[]>();
      for (const compiled of queued.flatMap((step) => step.compiled)) {
        if (!rows.has(compiled)) rows.set(compiled, await compiled.recorder.read());
      }
      for (const [i, { step, epoch, phase, compiled }] of queued.entries()) {
        const micro = compiled.map((each) => each.figures.unpack(rows.get(each)!.shift()!));
        const { deciding } = compiled.at(-1)!;
        const wrong = firstNotFinite(
          Object.fromEntries(Object.entries(micro.at(-1)!).filter(([name]) => deciding.has(name))),
        );
        if (wrong) {
          await this.skip(queued[i], wrong);
          // The steps behind it changed nothing either: they run again from here.
          this.device.upload(this.halted, [0]);
          for (const later of queued.slice(i + 1)) await this.queue(later);
          break;
        }
        this.skipped = { ...this.skipped, inRow: 0 };
        found.push({ step, epoch, values: { ...this.loggedRates(step, phase), ...meanFigures(micro) } });
      }
    }
    return found;
  }

  /** Counts a step as skipped and finds out where it went wrong. */
  private async skip(queued: QueuedStep, wrong: Pick<SkippedStep, "figure" | "value">): Promise<void> {
    const { step, epoch, phase, microBatches } = queued;
    // Looking for the origin takes a program of its own; two would not fit on a card that one fits.
    this.releasePrograms();
    let origin: string | null = null;
    for (const [micro, batches] of microBatches.entries()) {
      const accumulation = { count: microBatches.length, isLast: micro === microBatches.length - 1 };
      const trace = () => this.trace(batches.map(shapeOf), phase, accumulation);
      origin ??= await findNotFinite(this.device, trace, this.feeds(batches, this.noiseStep(step, micro)));
    }
    this.skipped = { total: this.skipped.total + 1, inRow: this.skipped.inRow + 1 };
    const skipped: SkippedStep = { step, epoch, ...wrong, origin, ...this.skipped };
    if (skipped.inRow >= (this.options.maxSkippedInRow ?? 5)) {
      const before = skipped.inRow > 1 ? `; the ${skipped.inRow - 1} before it had to be skipped as well` : "";
      throw new DivergedError(step, skipReason(skipped) + before, { inRow: skipped.inRow });
    }
    this.options.onSkip?.(skipped);
  }

  /** Place of a micro-batch in the streams of timesteps and noise. */
  private noiseStep(step: number, micro: number): number {
    return step * (this.options.accumulationSteps ?? 1) + micro;
  }

  /** Losses of held-out pictures with the weights as they are now, see `Validator`; training goes on as if it had not been asked. */
  validate(
    heldOut: readonly (readonly TrainBatch[])[],
    seed: number,
    signal?: AbortSignal,
  ): Promise<Record<string, number>> {
    return this.validator.measure(heldOut, seed, signal);
  }

  /** Weights and optimizer state as they are now; figures must have been read, so that no NaN is saved. */
  async save(): Promise<TrainerState> {
    if (this.waiting.length) throw new Error("Cannot save: read the figures first");
    const networks = [];
    for (const [k, { lora }] of this.networks.entries()) {
      const optimizer: Record<string, StateArray> = {};
      for (const [name, variable] of this.started.has(k) ? Object.entries(this.updaters[k].optimizer.state) : []) {
        optimizer[name] = await this.device.download(variable) as StateArray;
      }
      networks.push({ weights: await this.device.download(lora.weights) as Float32Array, optimizer });
    }
    return { step: this.step, skipped: this.skipped, networks };
  }

  /** Goes on from a saved state. */
  restore(state: TrainerState): void {
    this.step = state.step;
    this.skipped = state.skipped;
    for (const [k, { lora }] of this.networks.entries()) {
      const { weights, optimizer } = state.networks[k];
      this.device.upload(lora.weights, weights);
      if (Object.keys(optimizer).length === 0) continue;
      this.startOptimizer(k);
      for (const [name, variable] of Object.entries(this.updaters[k].optimizer.state)) {
        if (!optimizer[name]) throw new Error(`Cannot go on: the saved state of ${lora.name} has no ${name}`);
        this.device.upload(variable, optimizer[name]);
      }
    }
  }

  /** Frees programs and optimizer state; the networks' weights stay on the device. */
  dispose(): void {
    this.releasePrograms();
    this.device.free([...this.updaters.flatMap(updaterVariables), this.halted]);
  }

  private releasePrograms(): void {
    for (const { program, recorder } of this.compiled.values()) {
      recorder.dispose();
      this.device.release(program);
    }
    this.compiled.clear();
    this.validator.release();
    this.pool.dispose();
  }

  private startOptimizer(k: number): void {
    if (this.started.has(k)) return;
    this.started.add(k);
    for (const [variable, values] of initialValues(this.updaters[k])) this.device.upload(variable, values);
  }

  private multiplier(step: number, settings: NetworkSettings): number {
    const { totalSteps, accumulationSteps = 1, scheduleUnit = "step" } = this.options;
    return stepMultiplier(step, totalSteps, { ...settings, accumulationSteps, unit: scheduleUnit });
  }

  private rateFeeds(step: number): Record<string, Float32Array> {
    return Object.fromEntries(
      this.networks.map(({ number, settings }, k) => [
        `rates_${number}`,
        rateFeed(this.updaters[k].groups, this.multiplier(step, settings)),
      ]),
    );
  }

  /** Learning rates by the names that logs use: one for each part of each network that trains. */
  private loggedRates(step: number, phase: EpochPhase): Record<string, number> {
    return Object.fromEntries(this.networks.flatMap(({ number, lora, settings }, k) => {
      if (!trains(this.networks, k, phase) || this.updaters[k].optimizer.ownRates) return [];
      const parts = [...new Set(lora.modules.map(({ part }) => part))], multiplier = this.multiplier(step, settings);
      return parts.map((part) => [`learning_rate_${part}_${number}`, partRate(part, settings) * multiplier]);
    }));
  }

  private async compile(
    shapes: BatchShape[],
    phase: EpochPhase,
    accumulation: StepOptions["accumulation"],
  ): Promise<Compiled> {
    const key = JSON.stringify([shapes, phase, accumulation]);
    const known = this.compiled.get(key);
    if (known) return known;
    for (const k of this.networks.keys()) if (trains(this.networks, k, phase)) this.startOptimizer(k);
    const graph = this.trace(shapes, phase, accumulation), rows = recorderRows(this.options, accumulation.count);
    const program = await this.device.compile(planned(graph), { pool: this.pool });
    const made: Compiled = {
      program,
      recorder: program.recorder("figures", { rows }),
      figures: graph.packedFigures,
      deciding: new Set(Object.keys(graph.figures)),
    };
    this.compiled.set(key, made);
    return made;
  }

  private trace(shapes: BatchShape[], phase: EpochPhase, accumulation: StepOptions["accumulation"]): StepGraph {
    const { networks, updaters, halted, noise, options } = this;
    return traceTraining({ networks, updaters, halted, noise, shapes, phase, accumulation, options });
  }

  private feeds(batches: readonly TrainBatch[], micro: number): Record<string, ArrayLike<number>> {
    const { noise, options: { seed } } = this;
    const timesteps = drawTimesteps(noise, seed, micro, Math.max(...batches.map(({ samples }) => samples.length)));
    return Object.assign(
      {},
      ...batches.map((batch, k) =>
        batchFeeds(batch, {
          number: this.networks[k].number,
          noise,
          loss: this.updaters[k].loss,
          seed,
          micro,
          timesteps,
          dropoutKeyCount: this.networks[k].lora.dropoutKeyCount,
        })
      ),
    );
  }
}

/** Figures that every micro-batch has, averaged, those of samples as well; what only the last one has, as it is. Those that are not finite are left out. */
function meanFigures(micro: readonly Readonly<Record<string, number | number[]>>[]): Record<string, number> {
  return Object.fromEntries(
    Object.entries(micro.at(-1)!).flatMap(([name, last]) => {
      // A figure of each sample, such as the MSE, counts by its mean.
      const all = name in micro[0] ? micro.map((figures) => meanOf(figures[name])) : [meanOf(last)];
      const mean = meanOf(all);
      return Number.isFinite(mean) ? [[name, mean]] : [];
    }),
  );
}

function meanOf(values: number | readonly number[]): number {
  return typeof values === "number" ? values : values.reduce((sum, value) => sum + value, 0) / values.length;
}
