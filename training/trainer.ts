import { type CompiledProgram, type Device, plan, type Program, type Recorder, type Variable } from "../engine/mod.ts";
import type { LoraNetwork } from "../lora/network.ts";
import { RandomStream } from "../random/philox.ts";
import { learningRateAt, type LearningRateOptions } from "./learning_rate.ts";
import { DivergedError, findNotFinite, firstNotFinite, type SkippedStep, skipReason } from "./not_finite.ts";
import type { PackedFigures } from "./packed_figures.ts";
import type { EpochPhase } from "./phases.ts";
import {
  AdamWState,
  type BatchShape,
  haltFlag,
  type StepForm,
  type StepGraph,
  type StepNetwork,
  type StepOptions,
  traceStep,
  type TrainableBase,
} from "./step_graph.ts";
import type { TextMask } from "../lora/orthogonality.ts";

/** One prepared picture with its prompt. */
export interface TrainSample {
  /** `[height, width, 4]`, as the VAE gives them. */
  readonly latents: Float32Array;
  /** `rows` times 77 token ids. */
  readonly ids: ArrayLike<number>;
  /** 1, or the prior's weight for a regularization picture. */
  readonly lossWeight: number;
}

/** Samples of one size that one network sees in a step. */
export interface TrainBatch {
  readonly height: number;
  readonly width: number;
  readonly tokenRows: number;
  readonly samples: readonly TrainSample[];
}

/** What the schedule of the noise tells a trainer. */
export interface TrainingNoise {
  readonly trainTimesteps: number;
  readonly predictionType: "epsilon" | "v_prediction";
  /** ᾱ for each timestep. */
  readonly alphasCumprod: ArrayLike<number>;
}

/** How the weights are found. Defaults are PyTorch's and sd-scripts'. */
export interface TrainerOptions {
  readonly seed: number;
  readonly totalSteps: number;
  readonly learningRate: LearningRateOptions;
  readonly form?: StepForm;
  readonly textCoefficient?: number;
  readonly unetCoefficient?: number;
  readonly textMask?: TextMask;
  readonly maxGradNorm?: number;
  /** 0: off. */
  readonly minSnrGamma?: number;
  readonly accumulationSteps?: number;
  readonly beta1?: number;
  readonly beta2?: number;
  readonly epsilon?: number;
  readonly weightDecay?: number;
  /** Off when left out: see `StepOptions`. */
  readonly gradientCheckpointing?: boolean;
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
}

/** The figures of one step: losses, orthogonality terms, gradient norms, learning rate. */
export interface StepFigures {
  /** From 0. */
  readonly step: number;
  readonly epoch: number;
  readonly values: Readonly<Record<string, number>>;
}

/** Everything that a run needs, beside its settings and data, to go on as if it had never stopped. */
export interface TrainerState {
  /** Optimizer steps done. */
  readonly step: number;
  /** Updates that each network has had. */
  readonly updates: readonly number[];
  /** Steps that were skipped since a figure was not finite: in all, and in a row up to this one. */
  readonly skipped: { readonly total: number; readonly inRow: number };
  /** Flat weights and moments of each network. */
  readonly networks: readonly { weights: Float32Array; firstMoment: Float32Array; secondMoment: Float32Array }[];
}

const streams = { timesteps: 101, noise: 110 } as const;

interface Compiled {
  readonly program: CompiledProgram;
  readonly recorder: Recorder;
  readonly figures: PackedFigures;
}

/** What one step is made of: enough to run it again. */
interface StepRecipe {
  readonly step: number;
  readonly epoch: number;
  readonly phase: EpochPhase;
  readonly learningRate: number;
  readonly microBatches: readonly (readonly TrainBatch[])[];
}

/** A step on its way, whose figures were not read yet. */
interface QueuedStep extends StepRecipe {
  readonly compiled: Compiled;
  /** Updates of each network before it. */
  readonly updates: readonly number[];
}

/**
 * Replays compiled steps: feeds batches, keeps the optimizers' clocks, reads figures back rarely and checks them.
 *
 * A step with a figure that is not finite changes nothing, and neither do those that were queued behind it: they are run again once it was seen.
 */
export class Trainer {
  private readonly states: readonly AdamWState[];
  private readonly halted: Variable = haltFlag();
  private readonly compiled = new Map<string, Compiled>();
  private readonly waiting: QueuedStep[] = [];
  private updates: number[];
  private skipped = { total: 0, inRow: 0 };
  private step = 0;
  private phase = "";

  constructor(
    private readonly device: Device,
    private readonly noise: TrainingNoise,
    readonly networks: readonly TrainerNetwork[],
    private readonly options: TrainerOptions,
  ) {
    this.states = networks.map(({ lora }) => new AdamWState(lora));
    this.updates = networks.map(() => 0);
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
    const learningRate = learningRateAt(step, this.options.totalSteps, this.options.learningRate);
    await this.queue({ step, epoch, phase, learningRate, microBatches });
    this.step++;
    const isDue = this.waiting.length >= (this.options.readEvery ?? 10);
    return isDue ? [...earlier, ...await this.readFigures()] : earlier;
  }

  private async queue(recipe: StepRecipe): Promise<void> {
    const { step, phase, learningRate, microBatches } = recipe, updates = [...this.updates];
    for (const [micro, batches] of microBatches.entries()) {
      const isLast = micro === microBatches.length - 1;
      const compiled = await this.compile(batches.map(shapeOf), phase, { count: microBatches.length, isLast });
      const { inputs } = compiled.program.program;
      const feeds = this.feeds(batches, this.noiseStep(step, micro));
      for (const [k, { number }] of this.networks.entries()) {
        const name = `rate_${number}`;
        if (!inputs.has(name)) continue;
        const { beta1, beta2 } = this.adamw, updates = ++this.updates[k];
        feeds[name] = [learningRate, 1 - beta1 ** updates, Math.sqrt(1 - beta2 ** updates)];
      }
      // What dead-code elimination dropped, such as a frozen network's target, has no input.
      const used = Object.fromEntries(Object.entries(feeds).filter(([name]) => inputs.has(name)));
      compiled.program.run(used, isLast ? { record: [compiled.recorder] } : {});
      if (isLast) this.waiting.push({ ...recipe, compiled, updates });
    }
  }

  /**
   * Waits for the device and reads the figures of all steps since the last time, those that were skipped left out.
   *
   * @throws {DivergedError} If so many of them in a row made NaN or infinity that the run stops.
   */
  async readFigures(): Promise<StepFigures[]> {
    const found: StepFigures[] = [];
    while (this.waiting.length) {
      const queued = this.waiting.splice(0), rows = new Map<Compiled, ArrayLike<number>[]>();
      for (const { compiled } of queued) {
        if (!rows.has(compiled)) rows.set(compiled, await compiled.recorder.read());
      }
      for (const [i, { step, epoch, learningRate, compiled, updates }] of queued.entries()) {
        const figures = compiled.figures.unpack(rows.get(compiled)!.shift()!), wrong = firstNotFinite(figures);
        if (wrong) {
          await this.skip(queued[i], wrong);
          // The steps behind it changed nothing either: they run again from here, with the optimizers' clocks as they were.
          this.updates = [...updates];
          this.device.upload(this.halted, [0]);
          for (const later of queued.slice(i + 1)) await this.queue(later);
          break;
        }
        this.skipped = { ...this.skipped, inRow: 0 };
        const single = Object.entries(figures).filter((entry): entry is [string, number] =>
          typeof entry[1] === "number"
        );
        found.push({ step, epoch, values: { learning_rate: learningRate, ...Object.fromEntries(single) } });
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
      throw new DivergedError(step, skipReason(skipped), skipped.inRow);
    }
    this.options.onSkip?.(skipped);
  }

  /** Place of a micro-batch in the streams of timesteps and noise. */
  private noiseStep(step: number, micro: number): number {
    return step * (this.options.accumulationSteps ?? 1) + micro;
  }

  /** Weights and optimizer state as they are now; figures must have been read, so that no NaN is saved. */
  async save(): Promise<TrainerState> {
    if (this.waiting.length) throw new Error("Cannot save: read the figures first");
    const networks = [];
    for (const [k, { lora }] of this.networks.entries()) {
      const { firstMoment, secondMoment } = this.states[k];
      networks.push({
        weights: await this.device.download(lora.weights) as Float32Array,
        firstMoment: await this.device.download(firstMoment) as Float32Array,
        secondMoment: await this.device.download(secondMoment) as Float32Array,
      });
    }
    return { step: this.step, updates: [...this.updates], skipped: this.skipped, networks };
  }

  /** Goes on from a saved state. */
  restore(state: TrainerState): void {
    this.step = state.step;
    this.updates = [...state.updates];
    this.skipped = state.skipped;
    for (const [k, { lora }] of this.networks.entries()) {
      this.device.upload(lora.weights, state.networks[k].weights);
      this.device.upload(this.states[k].firstMoment, state.networks[k].firstMoment);
      this.device.upload(this.states[k].secondMoment, state.networks[k].secondMoment);
    }
  }

  /** Frees programs and optimizer state; the networks' weights stay on the device. */
  dispose(): void {
    this.releasePrograms();
    this.device.free(this.states.flatMap((state) => [state.firstMoment, state.secondMoment, state.gradient]));
    this.device.free([this.halted]);
  }

  private releasePrograms(): void {
    for (const { program, recorder } of this.compiled.values()) {
      recorder.dispose();
      this.device.release(program);
    }
    this.compiled.clear();
  }

  private get adamw() {
    const { beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weightDecay = 0.01 } = this.options;
    return { beta1, beta2, epsilon, weightDecay };
  }

  private async compile(
    shapes: BatchShape[],
    phase: EpochPhase,
    accumulation: StepOptions["accumulation"],
  ): Promise<Compiled> {
    const key = JSON.stringify([shapes, phase, accumulation]);
    const known = this.compiled.get(key);
    if (known) return known;
    const { program, figures } = planned(this.trace(shapes, phase, accumulation));
    const compiled = await this.device.compile(program);
    const made = {
      program: compiled,
      figures,
      recorder: compiled.recorder("figures", { rows: (this.options.readEvery ?? 10) + 1 }),
    };
    this.compiled.set(key, made);
    return made;
  }

  private trace(shapes: BatchShape[], phase: EpochPhase, accumulation: StepOptions["accumulation"]): StepGraph {
    const options = { ...this.options, optimizer: this.adamw };
    return traceTraining(this.networks, this.states, this.halted, this.noise, shapes, phase, accumulation, options);
  }

  private feeds(batches: readonly TrainBatch[], micro: number): Record<string, ArrayLike<number>> {
    const { seed, minSnrGamma = 0 } = this.options;
    // Both networks see the same timesteps; the larger batch has some of its own.
    const draw = new RandomStream({ seed, stream: streams.timesteps, step: micro });
    const most = Math.max(...batches.map((batch) => batch.samples.length));
    const drawn = Array.from({ length: most }, () => draw.nextInteger(this.noise.trainTimesteps));
    const feeds: Record<string, ArrayLike<number>> = {};
    for (const [index, { samples, height, width }] of batches.entries()) {
      const k = this.networks[index].number, cells = height * width * 4;
      const latents = new Float32Array(samples.length * cells);
      samples.forEach((sample, i) => latents.set(sample.latents, i * cells));
      const timesteps = drawn.slice(0, samples.length);
      const alphas = timesteps.map((t) => this.noise.alphasCumprod[t]);
      const snrWeights = alphas.map((alpha) => minSnrGamma ? Math.min(1, minSnrGamma * (1 - alpha) / alpha) : 1);
      const weights = samples.map((sample) => sample.lossWeight);
      Object.assign(feeds, {
        [`latents_${k}`]: latents,
        [`noise_key_${k}`]: [seed >>> 0, Math.floor(seed / 2 ** 32), streams.noise + k, micro],
        [`ids_${k}`]: samples.flatMap((sample) => Array.from(sample.ids)),
        [`timesteps_${k}`]: timesteps,
        [`signal_${k}`]: alphas.map(Math.sqrt),
        [`sigma_${k}`]: alphas.map((alpha) => Math.sqrt(1 - alpha)),
        [`loss_weights_${k}`]: weights,
        [`mse_weights_${k}`]: weights.map((weight, i) => weight * snrWeights[i]),
      });
    }
    return feeds;
  }
}

function shapeOf({ samples, height, width, tokenRows }: TrainBatch): BatchShape {
  return { batch: samples.length, height, width, tokenRows };
}

/** Plans the program of one step, without a GPU. */
export function planStep(
  networks: readonly TrainerNetwork[],
  states: readonly AdamWState[],
  noise: TrainingNoise,
  shapes: readonly BatchShape[],
  phase: EpochPhase,
  accumulation: StepOptions["accumulation"],
  options: Omit<TrainerOptions, "seed"> & { optimizer: StepOptions["optimizer"] },
): { program: Program; figures: PackedFigures } {
  return planned(traceTraining(networks, states, haltFlag(), noise, shapes, phase, accumulation, options));
}

function planned({ packedFigures, effects }: StepGraph): { program: Program; figures: PackedFigures } {
  return { program: plan({ outputs: { figures: packedFigures.tensor }, effects }), figures: packedFigures };
}

function traceTraining(
  networks: readonly TrainerNetwork[],
  states: readonly AdamWState[],
  halted: Variable,
  noise: TrainingNoise,
  shapes: readonly BatchShape[],
  phase: EpochPhase,
  accumulation: StepOptions["accumulation"],
  options: Omit<TrainerOptions, "seed"> & { optimizer: StepOptions["optimizer"] },
): StepGraph {
  const { form = "clean", textCoefficient = 1, unetCoefficient = 1, textMask = "1-I", maxGradNorm = 1 } = options;
  const step: StepNetwork[] = networks.map((network, k) => ({
    ...network,
    optimizer: states[k],
    shape: shapes[k],
    trains: networks.length === 1 || k === 1 || phase.network1Trains,
  }));
  return traceStep(step, {
    form,
    orthogonality: { on: phase.orthogonalityOn, textCoefficient, unetCoefficient, textMask },
    vParameterization: noise.predictionType === "v_prediction",
    maxGradNorm,
    accumulation,
    noise: "drawn",
    optimizer: options.optimizer,
    allFigures: false,
    gradientCheckpointing: options.gradientCheckpointing ?? false,
    halted,
  });
}
