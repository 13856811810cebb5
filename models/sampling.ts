import {
  accumulate,
  add,
  type CompiledProgram,
  concat,
  type Device,
  type FloatFormat,
  input,
  multiply,
  plan,
  type Program,
  randomNormal,
  reshape,
  slice,
  type SlotPool,
  storingActivations,
  subtract,
  type Tensor,
  Variable,
} from "../engine/mod.ts";
import type { BaseModel } from "./base_model.ts";
import { weighStates } from "./clip/weigh_states.ts";
import type { NoiseSchedule, PredictionType } from "./noise/schedule.ts";
import { planSampler, type SamplerName, stepMatrix } from "./noise/sampler.ts";
import { type Adapters, stacked } from "./source.ts";

/** A network's deltas on both parts of a base model. */
export interface SamplingAdapters {
  readonly textEncoder: Adapters;
  readonly unet: Adapters;
}

/** What is sampled. */
export interface SamplingRequest {
  /** Token ids of each picture's prompt, `rows` times 77. */
  readonly promptIds: readonly ArrayLike<number>[];
  /** The same of each negative prompt. */
  readonly negativeIds: readonly ArrayLike<number>[];
  /** One seed a picture: the same seed gives the same noise, whatever the batch. */
  readonly seeds: readonly number[];
  /** Weights of each prompt's states, where the layout has such: 1 for BOS, EOS and padding. */
  readonly promptWeights?: readonly ArrayLike<number>[];
  /** The same of each negative prompt. */
  readonly negativeWeights?: readonly ArrayLike<number>[];
}

/** What programs are compiled for of the prompts that are encoded together. */
export interface PromptLayout {
  /** Rows of 77 tokens a prompt takes. */
  readonly tokenRows: number;
  /** Whether tokens count more or less than others. */
  readonly hasTokenWeights?: boolean;
}

/** How it is sampled. */
export interface SamplingOptions extends PromptLayout {
  readonly sampler: SamplerName;
  readonly steps: number;
  /** Classifier-free guidance: 1 and less turn it off, as in diffusers. Ho and Salimans 2022, https://arxiv.org/abs/2207.12598 */
  readonly guidance: number;
  /** What the UNet with its adapters predicts; as the base's schedule says when left out. */
  readonly predictionType?: PredictionType;
  /** What the UNet's activations are stored in; f32 when left out. */
  readonly activations?: FloatFormat;
  /** Latent cells. */
  readonly width: number;
  readonly height: number;
  readonly batch: number;
  /** Added one after another to each layer's output: a stack of networks. */
  readonly adapters: readonly SamplingAdapters[];
}

/** What is sampled from: a text encoder, a UNet and their noise schedule. */
export type SampledModel = Pick<BaseModel, "encode" | "denoise" | "schedule">;

const noiseStream = 300;
/** To wait for the device takes about 12 ms in which it has nothing to do: no more often than this, nor than once a second. */
const fewestStepsBetweenWaits = 5, msBetweenWaits = 1000;

/** What samples one batch, without a device: what it keeps between its programs, and the programs, which take turns. */
export interface PlannedSampling {
  /** `[1 + memory, batch, height, width, 4]`: the latents, and what the sampler keeps between its steps. */
  readonly state: Variable;
  /** The prompts' states. */
  readonly context: Variable;
  readonly encode: Program;
  readonly start: Program;
  readonly step: Program;
}

/**
 * Traces and plans the text encoder and one step of the sampler.
 *
 * @throws {RangeError} If the sampler does not take the number of steps.
 */
export function planSampling(base: SampledModel, options: SamplingOptions): PlannedSampling {
  const { batch, height, width, tokenRows } = options;
  const guided = isGuided(options), passes = guided ? 2 * batch : batch;
  const places = planSampler(options.sampler, scheduleOf(base, options), options).memory;
  const picture = [batch, height, width, 4], rows = [1 + places, 1, 1, 1, 1];
  const state = new Variable("sampled latents", { shape: [1 + places, ...picture], dtype: "f32" });
  const place = (at: number) => slice(state.tensor, { axis: 0, start: at, length: 1 });
  const adapters = (part: keyof SamplingAdapters) => stacked(options.adapters.map((each) => each[part]));

  const ids = input("ids", [passes * tokenRows, 77], "i32");
  const encoded = base.encode(ids, { adapters: adapters("textEncoder"), rows: tokenRows });
  const states = options.hasTokenWeights
    ? weighStates(encoded, input("token_weights", encoded.shape.slice(0, 2)))
    : encoded;
  const context = new Variable("prompt states", { shape: states.shape, dtype: "f32" });
  const encode = plan({ effects: [accumulate(context.tensor, states, { keep: 0 })] });

  // Once for the latents and each place of the memory.
  const each = (x: Tensor) => reshape(x, [1, ...picture]);
  const begun = multiply(each(drawn(picture)), reshape(input("sigmas", [1 + places]), rows));
  const start = plan({ effects: [accumulate(state.tensor, begun, { keep: 0 })] });

  const x = reshape(place(0), picture), seen = multiply(x, input("input_scale", [1]));
  const both = guided ? concat(seen, seen, { axis: 0 }) : seen;
  const output = storingActivations(
    options.activations ?? "f32",
    () => base.denoise(both, input("timesteps", [passes]), context.tensor, { adapters: adapters("unet") }),
  );
  let found = output;
  if (guided) {
    const negative = slice(output, { axis: 0, start: 0, length: batch });
    const prompt = slice(output, { axis: 0, start: batch, length: batch });
    found = add(negative, multiply(subtract(prompt, negative), input("guidance", [1])));
  }
  // state' = factors · (x, f, noise, memory), with f = f_negative + guidance · (f_prompt − f_negative)
  const terms = [
    place(0),
    each(found),
    each(drawn(picture)),
    ...Array.from({ length: places }, (_, at) => place(at + 1)),
  ];
  const factors = input("factors", [terms.length, 1 + places]);
  const next = terms
    .map((term, at) => multiply(term, reshape(slice(factors, { axis: 0, start: at, length: 1 }), rows)))
    .reduce((sum, term) => add(sum, term));
  const step = plan({ effects: [accumulate(state.tensor, next, { keep: 0 })] });
  return { state, context, encode, start, step };
}

/** A sampler compiled for one batch size and stack of networks; replayed for any prompts, seeds and LoRA weights. */
export class CompiledSampler {
  private constructor(
    private readonly device: Device,
    private readonly options: SamplingOptions,
    private readonly base: SampledModel,
    private readonly state: Variable,
    private readonly context: Variable,
    private readonly encode: CompiledProgram,
    private readonly start: CompiledProgram,
    private readonly step: CompiledProgram,
  ) {}

  /**
   * Plans and compiles the text encoder and one step of the sampler.
   *
   * @param pool Buffers that they take turns with, and other samplers too; whoever made it disposes of it.
   */
  static async make(
    device: Device,
    base: SampledModel,
    options: SamplingOptions,
    pool: SlotPool,
  ): Promise<CompiledSampler> {
    const { state, context, encode, start, step } = planSampling(base, options);
    return new CompiledSampler(
      device,
      options,
      base,
      state,
      context,
      await device.compile(encode, { pool }),
      await device.compile(start, { pool }),
      await device.compile(step, { pool }),
    );
  }

  /**
   * Samples one batch.
   *
   * @param options.signal Looked at every few steps and about once a second, for which the device is then waited for.
   * @throws The signal's reason.
   * @returns Each picture's latents `[height, width, 4]`, scaled as the UNet has them.
   */
  async sample(
    request: SamplingRequest,
    { signal }: { signal?: AbortSignal | undefined } = {},
  ): Promise<Float32Array[]> {
    const { batch, guidance, sampler, steps, hasTokenWeights } = this.options, guided = isGuided(this.options);
    const { promptWeights = [], negativeWeights = [], ...rest } = request;
    for (const [name, list] of Object.entries(hasTokenWeights ? { ...rest, promptWeights, negativeWeights } : rest)) {
      if (list.length !== batch) {
        throw new RangeError(`Cannot sample: ${list.length} ${name}, the sampler has a batch of ${batch}`);
      }
    }
    const both = (negative: readonly ArrayLike<number>[], prompt: readonly ArrayLike<number>[]) =>
      [...guided ? negative : [], ...prompt].flatMap((each) => Array.from(each));
    this.encode.run({
      ids: both(request.negativeIds, request.promptIds),
      ...hasTokenWeights ? { token_weights: both(negativeWeights, promptWeights) } : {},
    });
    const plan = planSampler(sampler, scheduleOf(this.base, this.options), { steps });
    const keys = (step: number) =>
      Object.fromEntries(
        request.seeds.map((seed, i) => [`noise_key_${i}`, [seed >>> 0, Math.floor(seed / 2 ** 32), noiseStream, step]]),
      );
    this.start.run({ ...keys(0), sigmas: [plan.initNoiseSigma, ...Array(plan.memory).fill(0)] });
    let last = { step: -1, at: performance.now() }, next = 0;
    for (const [done, planned] of plan.steps.entries()) {
      const matrix = stepMatrix(planned, plan.memory);
      this.step.run({
        timesteps: Array(guided ? 2 * batch : batch).fill(planned.timestep),
        input_scale: [planned.inputScale],
        // The program takes a column at a time.
        factors: matrix[0].flatMap((_, column) => matrix.map((row) => row[column])),
        ...guided ? { guidance: [guidance] } : {},
        ...keys(done + 1),
      });
      if (signal && done === next) {
        await this.device.idle();
        signal.throwIfAborted();
        const at = performance.now(), msPerStep = (at - last.at) / (done - last.step);
        next = done + Math.max(fewestStepsBetweenWaits, Math.ceil(msBetweenWaits / msPerStep));
        last = { step: done, at };
      }
    }
    const { width, height } = this.options, each = height * width * 4;
    const found = await this.device.download(this.state) as Float32Array;
    return Array.from({ length: batch }, (_, i) => found.slice(i * each, (i + 1) * each));
  }

  /** Frees programs and buffers; weights stay. */
  free(): void {
    for (const program of [this.encode, this.start, this.step]) this.device.release(program);
    this.device.free([this.state, this.context]);
  }
}

/** Whether the negative prompt counts. */
function isGuided({ guidance }: SamplingOptions): boolean {
  return guidance > 1;
}

/** The base's noise, with what is predicted in it. */
function scheduleOf({ schedule }: SampledModel, { predictionType }: SamplingOptions): NoiseSchedule {
  return predictionType === undefined ? schedule : schedule.predicting(predictionType);
}

/** Standard normal noise, each picture from its own key `noise_key_<i>`. */
function drawn([batch, ...picture]: readonly number[]): Tensor {
  const pictures = Array.from(
    { length: batch },
    (_, i) => randomNormal(input(`noise_key_${i}`, [4], "u32"), { shape: [1, ...picture] }),
  );
  return pictures.reduce((all, each) => concat(all, each, { axis: 0 }));
}
