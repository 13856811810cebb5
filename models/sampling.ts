import {
  accumulate,
  add,
  type CompiledProgram,
  concat,
  type Device,
  input,
  multiply,
  plan,
  type Program,
  randomNormal,
  slice,
  type SlotPool,
  subtract,
  type Tensor,
  Variable,
} from "../engine/mod.ts";
import type { BaseModel } from "./base_model.ts";
import { planSampler, type SamplerName } from "./noise/sampler.ts";
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
}

/** How it is sampled. */
export interface SamplingOptions {
  readonly sampler: SamplerName;
  readonly steps: number;
  /** Classifier-free guidance: 1 turns it off. Ho and Salimans 2022, https://arxiv.org/abs/2207.12598 */
  readonly guidance: number;
  /** Latent cells. */
  readonly width: number;
  readonly height: number;
  readonly batch: number;
  /** Rows of 77 tokens a prompt takes. */
  readonly tokenRows: number;
  /** Added one after another to each layer's output: a stack of networks. */
  readonly adapters: readonly SamplingAdapters[];
}

const noiseStream = 300;

/** What samples one batch, without a device: what it keeps between its programs, and the programs, which take turns. */
export interface PlannedSampling {
  readonly latents: Variable;
  /** The prompts' states. */
  readonly context: Variable;
  readonly encode: Program;
  readonly start: Program;
  readonly step: Program;
}

/** Traces and plans the text encoder and one step of the sampler. */
export function planSampling(base: BaseModel, options: SamplingOptions): PlannedSampling {
  const { batch, height, width, tokenRows, guidance } = options;
  const guided = guidance !== 1, passes = guided ? 2 * batch : batch;
  const picture = [batch, height, width, 4];
  const latents = new Variable("sampled latents", { shape: picture, dtype: "f32" });
  const adapters = (part: keyof SamplingAdapters) => stacked(options.adapters.map((each) => each[part]));

  const ids = input("ids", [passes * tokenRows, 77], "i32");
  const states = base.encode(ids, { adapters: adapters("textEncoder"), rows: tokenRows });
  const context = new Variable("prompt states", { shape: states.shape, dtype: "f32" });
  const encode = plan({ effects: [accumulate(context.tensor, states, { keep: 0 })] });

  const noise = drawn(picture);
  const start = plan({
    effects: [accumulate(latents.tensor, multiply(noise, input("sigma", [1])), { keep: 0 })],
  });

  // x' = a·x + b·f(s·x) + c·noise, with f = f_negative + guidance · (f_prompt − f_negative)
  const coefficients = input("coefficients", [5]);
  const coefficient = (at: number) => slice(coefficients, { axis: 0, start: at, length: 1 });
  const x = latents.tensor, seen = multiply(x, coefficient(3));
  const both = guided ? concat(seen, seen, { axis: 0 }) : seen;
  const output = base.denoise(both, input("timesteps", [passes]), context.tensor, { adapters: adapters("unet") });
  let found = output;
  if (guided) {
    const negative = slice(output, { axis: 0, start: 0, length: batch });
    const prompt = slice(output, { axis: 0, start: batch, length: batch });
    found = add(negative, multiply(subtract(prompt, negative), coefficient(4)));
  }
  let next = add(multiply(x, coefficient(0)), multiply(found, coefficient(1)));
  next = add(next, multiply(drawn(picture), coefficient(2)));
  const step = plan({ effects: [accumulate(latents.tensor, next, { keep: 0 })] });
  return { latents, context, encode, start, step };
}

/** A sampler compiled for one batch size and stack of networks; replayed for any prompts, seeds and LoRA weights. */
export class CompiledSampler {
  private constructor(
    private readonly device: Device,
    private readonly options: SamplingOptions,
    private readonly base: BaseModel,
    private readonly latents: Variable,
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
    base: BaseModel,
    options: SamplingOptions,
    pool: SlotPool,
  ): Promise<CompiledSampler> {
    const { latents, context, encode, start, step } = planSampling(base, options);
    return new CompiledSampler(
      device,
      options,
      base,
      latents,
      context,
      await device.compile(encode, { pool }),
      await device.compile(start, { pool }),
      await device.compile(step, { pool }),
    );
  }

  /**
   * Samples one batch.
   *
   * @returns Each picture's latents `[height, width, 4]`, scaled as the UNet has them.
   */
  async sample(
    request: SamplingRequest,
    onStep: (done: number, total: number) => void = () => {},
  ): Promise<Float32Array[]> {
    const { batch, guidance, sampler, steps } = this.options, guided = guidance !== 1;
    for (const [name, list] of Object.entries(request)) {
      if (list.length !== batch) {
        throw new RangeError(`Cannot sample: ${list.length} ${name}, the sampler has a batch of ${batch}`);
      }
    }
    const ids = [...guided ? request.negativeIds : [], ...request.promptIds].flatMap((each) => Array.from(each));
    this.encode.run({ ids });
    const plan = planSampler(sampler, this.base.schedule, { steps });
    const keys = (step: number) =>
      Object.fromEntries(
        request.seeds.map((seed, i) => [`noise_key_${i}`, [seed >>> 0, Math.floor(seed / 2 ** 32), noiseStream, step]]),
      );
    this.start.run({ ...keys(0), sigma: [plan.initNoiseSigma] });
    for (const [done, { timestep, inputScale, latents, modelOutput, noise }] of plan.steps.entries()) {
      this.step.run({
        timesteps: Array(guided ? 2 * batch : batch).fill(timestep),
        coefficients: [latents, modelOutput, noise, inputScale, guidance],
        ...keys(done + 1),
      });
      onStep(done + 1, plan.steps.length);
    }
    const found = await this.device.download(this.latents) as Float32Array, each = found.length / batch;
    return Array.from({ length: batch }, (_, i) => found.slice(i * each, (i + 1) * each));
  }

  /** Frees programs and buffers; weights stay. */
  free(): void {
    for (const program of [this.encode, this.start, this.step]) this.device.release(program);
    this.device.free([this.latents, this.context]);
  }
}

/** Standard normal noise, each picture from its own key `noise_key_<i>`. */
function drawn([batch, ...picture]: readonly number[]): Tensor {
  const pictures = Array.from(
    { length: batch },
    (_, i) => randomNormal(input(`noise_key_${i}`, [4], "u32"), { shape: [1, ...picture] }),
  );
  return pictures.reduce((all, each) => concat(all, each, { axis: 0 }));
}
