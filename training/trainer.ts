import { type CompiledProgram, type Device, plan, type Program, type Recorder } from "../engine/mod.ts";
import type { LoraNetwork } from "../lora/network.ts";
import { RandomStream } from "../random/philox.ts";
import { learningRateAt, type LearningRateOptions } from "./learning_rate.ts";
import type { EpochPhase } from "./phases.ts";
import {
  AdamWState,
  type BatchShape,
  type PackedFigures,
  packFigures,
  type StepForm,
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

/** Training produced NaN or infinity. A step whose gradients are not finite changes no weight, and nothing after the last checkpoint is kept. */
export class DivergedError extends Error {
  override name = "DivergedError";
  constructor(readonly step: number, readonly figure: string, readonly value: number) {
    super(
      `Training diverged in step ${step + 1}: ${figure} is ${value}. Nothing of this step was kept. ` +
        "Lower the learning rate, or look for damaged pictures",
    );
  }
}

/** Everything that a run needs, beside its settings and data, to go on as if it had never stopped. */
export interface TrainerState {
  /** Optimizer steps done. */
  readonly step: number;
  /** Updates that each network has had. */
  readonly updates: readonly number[];
  /** Flat weights and moments of each network. */
  readonly networks: readonly { weights: Float32Array; firstMoment: Float32Array; secondMoment: Float32Array }[];
}

const streams = { timesteps: 101, noise: 110 } as const;

interface Compiled {
  readonly program: CompiledProgram;
  readonly recorder: Recorder;
  readonly figures: PackedFigures;
}

/** Replays compiled steps: feeds batches, keeps the optimizers' clocks, reads figures back rarely and checks them. */
export class Trainer {
  private readonly states: readonly AdamWState[];
  private readonly compiled = new Map<string, Compiled>();
  private readonly waiting: { compiled: Compiled; step: number; epoch: number; learningRate: number }[] = [];
  private updates: number[];
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
   * @throws {DivergedError} If one of those steps made NaN or infinity.
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
    for (const [micro, batches] of microBatches.entries()) {
      const isLast = micro === microBatches.length - 1;
      const compiled = await this.compile(batches.map(shapeOf), phase, { count: microBatches.length, isLast });
      const { inputs } = compiled.program.program;
      const feeds = this.feeds(batches, step * (this.options.accumulationSteps ?? 1) + micro);
      for (const [k, { number }] of this.networks.entries()) {
        const name = `rate_${number}`;
        if (!inputs.has(name)) continue;
        const { beta1, beta2 } = this.adamw, updates = ++this.updates[k];
        feeds[name] = [learningRate, 1 - beta1 ** updates, Math.sqrt(1 - beta2 ** updates)];
      }
      // What dead-code elimination dropped, such as a frozen network's target, has no input.
      const used = Object.fromEntries(Object.entries(feeds).filter(([name]) => inputs.has(name)));
      compiled.program.run(used, isLast ? { record: [compiled.recorder] } : {});
      if (isLast) this.waiting.push({ compiled, step, epoch, learningRate });
    }
    this.step++;
    const isDue = this.waiting.length >= (this.options.readEvery ?? 10);
    return isDue ? [...earlier, ...await this.readFigures()] : earlier;
  }

  /** Waits for the device and reads the figures of all steps since the last time. */
  async readFigures(): Promise<StepFigures[]> {
    const rows = new Map<Compiled, ArrayLike<number>[]>();
    for (const { compiled } of this.waiting) {
      if (!rows.has(compiled)) rows.set(compiled, await compiled.recorder.read());
    }
    const found = this.waiting.splice(0).map(({ compiled, step, epoch, learningRate }) => {
      const values: Record<string, number> = { learning_rate: learningRate };
      for (const [name, value] of Object.entries(compiled.figures.unpack(rows.get(compiled)!.shift()!))) {
        if (typeof value === "number") values[name] = value;
      }
      return { step, epoch, values };
    });
    for (const { step, values } of found) {
      for (const [name, value] of Object.entries(values)) {
        if (!Number.isFinite(value)) throw new DivergedError(step, name, value);
        if (name.startsWith("finite_") && value === 0) throw new DivergedError(step, `gradient_${name.at(-1)}`, NaN);
      }
    }
    return found.map(({ values, ...figures }) => ({
      ...figures,
      values: Object.fromEntries(Object.entries(values).filter(([name]) => !name.startsWith("finite_"))),
    }));
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
    return { step: this.step, updates: [...this.updates], networks };
  }

  /** Goes on from a saved state. */
  restore(state: TrainerState): void {
    this.step = state.step;
    this.updates = [...state.updates];
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
    const { program, figures } = planStep(this.networks, this.states, this.noise, shapes, phase, accumulation, {
      ...this.options,
      optimizer: this.adamw,
    });
    const compiled = await this.device.compile(program);
    const made = {
      program: compiled,
      figures,
      recorder: compiled.recorder("figures", { rows: (this.options.readEvery ?? 10) + 1 }),
    };
    this.compiled.set(key, made);
    return made;
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
  const { form = "clean", textCoefficient = 1, unetCoefficient = 1, textMask = "1-I", maxGradNorm = 1 } = options;
  const step: StepNetwork[] = networks.map((network, k) => ({
    ...network,
    optimizer: states[k],
    shape: shapes[k],
    trains: networks.length === 1 || k === 1 || phase.network1Trains,
  }));
  const graph = traceStep(step, {
    form,
    orthogonality: { on: phase.orthogonalityOn, textCoefficient, unetCoefficient, textMask },
    vParameterization: noise.predictionType === "v_prediction",
    maxGradNorm,
    accumulation,
    noise: "drawn",
    optimizer: options.optimizer,
    allFigures: false,
    gradientCheckpointing: options.gradientCheckpointing ?? false,
  });
  const figures = packFigures(graph.figures);
  return { program: plan({ outputs: { figures: figures.tensor }, effects: graph.effects }), figures };
}
