import { latentCells } from "../../data/resize.ts";
import { SlotPool } from "../../engine/mod.ts";
import { weightedChunks } from "../../models/clip/weighted_prompt.ts";
import { checkSampler } from "../../models/noise/sampler.ts";
import type { PredictionType } from "../../models/noise/schedule.ts";
import { CompiledSampler, type PromptLayout } from "../../models/sampling.ts";
import { VaeModel } from "../../models/vae_model.ts";
import type { LoadedBases } from "./bases.ts";
import type { Network } from "./network.ts";
import { PictureStacks, type PlannedStackedNetwork, promptLayout, stackKey } from "./picture_stacks.ts";
import type { SampledPicture } from "./sample_sheet.ts";

/** How pictures are sampled. */
export interface PictureOptions {
  /** Pixels, multiples of 8. */
  readonly width: number;
  readonly height: number;
  /**
   * `ddim`, `pndm`, `plms`, `lms`, `euler`, `euler_a`, `heun`, `dpm_2`, `dpm_2_a`, `dpmsolver`, `dpmsolver++`, `dpmsingle`, or sd-scripts' aliases `k_lms`,
   * `k_euler`, `k_euler_a`, `k_dpm_2`, `k_dpm_2_a`; ddim when left out.
   */
  readonly sampler?: string;
  /**
   * 1 (pndm 4) to 999, and 1000 with lms, euler, euler_a, heun, dpm_2 and dpm_2_a; 30 when left out, as sd-scripts. `heun`, `dpm_2` and `dpm_2_a` take
   * twice as long for each.
   */
  readonly steps?: number;
  /** 7.5 when left out, as sd-scripts; at 1 and below the negative prompt does not count. */
  readonly guidance?: number;
  readonly negativePrompt?: string;
  /** What the networks were trained to predict, see `vParameterization`; as the base's noise schedule says when left out. */
  readonly predictionType?: PredictionType;
}

/** A network that acts while pictures are sampled. */
export interface StackedNetwork extends PlannedStackedNetwork {
  readonly network: Network;
}

/**
 * Checks values before anything runs.
 *
 * @throws {RangeError} If there is no such sampler, a side is no multiple of 8 pixels, or a number is out of range, such as fewer than 4 steps with pndm,
 * or `predictionType` is none.
 */
export function checkPictureOptions(options: PictureOptions): void {
  const { width, height, sampler = "ddim", steps = 30, guidance = 7.5, predictionType = "epsilon" } = options;
  checkSampler(sampler, { steps });
  if (!Number.isFinite(guidance)) throw new RangeError(`Cannot sample: guidance is ${guidance}, must be a number`);
  if (predictionType !== "epsilon" && predictionType !== "v_prediction") {
    throw new RangeError(
      `Cannot sample: predictionType is ${JSON.stringify(predictionType)}, must be "epsilon" or "v_prediction"`,
    );
  }
  for (const [name, value] of Object.entries({ width, height })) {
    if (!Number.isInteger(value) || value < 8 || value % 8 !== 0) {
      throw new RangeError(`Cannot sample: ${name} is ${value} pixels, must be a multiple of 8 (one latent)`);
    }
  }
}

/**
 * Makes pictures with network 1's base and stacks of networks, for steps that sample. What it compiles for a stack serves every stack of the same shape
 * and strengths. Disposing of it frees all it has on the device.
 */
export class PictureSampler implements Disposable {
  private readonly compiled = new Map<string, CompiledSampler>();
  private readonly stacks: PictureStacks;
  private readonly pool: SlotPool;

  private constructor(
    private readonly bases: LoadedBases,
    private readonly vae: VaeModel,
    private readonly options: PictureOptions,
  ) {
    this.stacks = new PictureStacks(bases.network1, options);
    this.pool = new SlotPool(bases.device);
  }

  /**
   * Loads the VAE that turns latents into pictures.
   *
   * @throws {RangeError} As `checkPictureOptions`.
   */
  static async open(bases: LoadedBases, options: PictureOptions): Promise<PictureSampler> {
    checkPictureOptions(options);
    return new PictureSampler(bases, await VaeModel.load(bases.network1.checkpoint, bases.device), options);
  }

  /**
   * Samples one picture for each prompt, all at once: the same seed gives the same noise, whatever the others are. Prompts may take up to 225 tokens,
   * and have weights, such as `(red hat:1.2)`.
   *
   * @param stack Networks that act one after another; none is the base alone.
   * @param options.signal Stops between two of the sampler's steps.
   * @throws {Error} If the latents became NaN.
   * @throws The signal's reason.
   */
  async sample(
    stack: readonly StackedNetwork[],
    prompts: readonly { readonly prompt: string; readonly seed: number }[],
    { signal }: { readonly signal?: AbortSignal } = {},
  ): Promise<SampledPicture[]> {
    const { vae, options: { width, height, negativePrompt = "" }, bases: { device, tokenizer1: tokenizer } } = this;
    const layout = promptLayout(tokenizer, [negativePrompt, ...prompts.map(({ prompt }) => prompt)]);
    const sampler = await this.compile(stack, prompts.length, layout);
    this.stacks.networksOf(stack).forEach((lora, i) => device.upload(lora.weights, stack[i].network.weights));
    const chunks = (prompt: string) => weightedChunks(tokenizer, prompt, 75 * layout.tokenRows);
    const read = prompts.map(({ prompt }) => chunks(prompt)), negative = chunks(negativePrompt);
    const latents = await sampler.sample({
      promptIds: read.map(({ rows }) => rows.flat()),
      negativeIds: prompts.map(() => negative.rows.flat()),
      seeds: prompts.map(({ seed }) => seed),
      promptWeights: read.map(({ weights }) => weights),
      negativeWeights: prompts.map(() => negative.weights),
    }, { signal });
    if (!latents.every((each) => each.every(Number.isFinite))) {
      const { f16Arithmetic = false } = this.bases.network1.options;
      const reason = f16Arithmetic
        ? "Sums beyond 65,504 end so in f16: try without f16Arithmetic (--f16_arithmetic)"
        : "Was a network damaged?";
      throw new Error(`Cannot sample ${prompts[0].prompt}: the latents became NaN. ${reason}`);
    }
    const pixels = await vae.decode(latents, { width: latentCells(width), height: latentCells(height) });
    return prompts.map(({ prompt, seed }, i) => ({ prompt, seed, width, height, pixels: pixels[i] }));
  }

  private async compile(
    stack: readonly StackedNetwork[],
    batch: number,
    layout: PromptLayout,
  ): Promise<CompiledSampler> {
    const { bases: { device, network1: base }, stacks, pool } = this, key = stackKey(stack, batch, layout);
    const known = this.compiled.get(key);
    if (known) return known;
    const made = await CompiledSampler.make(device, base, stacks.sampling(stack, batch, layout), pool);
    this.compiled.set(key, made);
    return made;
  }

  [Symbol.dispose](): void {
    this.vae.free();
    for (const sampler of this.compiled.values()) sampler.free();
    this.compiled.clear();
    this.bases.device.free(this.stacks.all.map((lora) => lora.weights));
    this.pool.dispose();
  }
}
