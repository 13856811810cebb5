import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Device, DType, Tensor } from "../engine/mod.ts";
import { readTextEncoderConfig, type TextEncoderConfig } from "./clip/config.ts";
import { CLIPTextModel } from "./clip/text_encoder.ts";
import { ConfigReader } from "./config_reader.ts";
import { fillWeightsByRule, loadWeights } from "./load.ts";
import { NoiseSchedule } from "./noise/schedule.ts";
import { type Adapters, type LayerInfo, Source } from "./source.ts";
import { readUNetConfig, type UNetConfig } from "./unet/config.ts";
import { UNet2DConditionModel } from "./unet/unet_2d_condition.ts";
import { Weights } from "./weights.ts";

/** How a base model is read and kept. */
export interface BaseModelOptions {
  /** How frozen weights are stored on the device; f16 halves them. f32 when left out. */
  readonly precision?: "f32" | "f16";
  /** 1 takes the text encoder's last layer, 2 the one before, and so on; 1 when left out. */
  readonly clipSkip?: number;
}

const noAdapters: Adapters = () => null;

/**
 * Text encoder and UNet of a Stable Diffusion v1 model, frozen: what LoRA networks are trained on and sampled with.
 *
 * Opening reads configurations alone; `load` puts the weights on a device.
 */
export class BaseModel {
  /** Latents are multiplied by it before noise is added. */
  readonly latentScale = 0.18215;
  /** Linear layers of the text encoder, in transformers' order. */
  readonly textLayers: readonly LayerInfo[];
  /** Linear layers and convolutions of the UNet, in diffusers' order. */
  readonly unetLayers: readonly LayerInfo[];
  readonly textWeights: Weights;
  readonly unetWeights: Weights;

  private constructor(
    /** The Diffusers folder. */
    readonly folder: string,
    readonly textConfig: TextEncoderConfig,
    readonly unetConfig: UNetConfig,
    readonly schedule: NoiseSchedule,
    private readonly options: BaseModelOptions,
  ) {
    const dtype: DType = options.precision ?? "f32";
    this.textWeights = new Weights("text_encoder", dtype);
    this.unetWeights = new Weights("unet", dtype);
    const textSource = new Source(this.textWeights), unetSource = new Source(this.unetWeights);
    new CLIPTextModel(textSource, textConfig);
    new UNet2DConditionModel(unetSource, unetConfig);
    this.textLayers = textSource.layers;
    this.unetLayers = unetSource.layers;
  }

  /**
   * Reads a Diffusers folder's configurations. Without `scheduler/scheduler_config.json` the schedule is SD v1.5's.
   *
   * @throws {Error} If the folder or a file is missing or asks for what is not supported, naming it.
   */
  static async open(folder: string, options: BaseModelOptions = {}): Promise<BaseModel> {
    const textConfig = readTextEncoderConfig(await ConfigReader.open(join(folder, "text_encoder", "config.json")));
    const unetConfig = readUNetConfig(await ConfigReader.open(join(folder, "unet", "config.json")));
    if (textConfig.size !== unetConfig.contextSize) {
      throw new RangeError(
        `Cannot use ${folder}: unet/config.json has cross_attention_dim ${unetConfig.contextSize}, ` +
          `but text_encoder/config.json has hidden_size ${textConfig.size}; they must be equal`,
      );
    }
    return new BaseModel(folder, textConfig, unetConfig, await readSchedule(folder), options);
  }

  /** Numbers in both models. */
  get parameterCount(): number {
    return this.textWeights.parameterCount + this.unetWeights.parameterCount;
  }

  /** Puts the weights of the folder's files on the device. */
  async load(device: Device): Promise<{ warnings: string[] }> {
    const warnings: string[] = [];
    for (const [part, weights] of [["text_encoder", this.textWeights], ["unet", this.unetWeights]] as const) {
      const { file, unknownKeys } = await loadWeights(device, weights, join(this.folder, part), this.options);
      if (unknownKeys.length) {
        warnings.push(
          `${file}: ${unknownKeys.length} tensors have no place in the model, the first is ${unknownKeys[0]}`,
        );
      }
    }
    return { warnings };
  }

  /** Puts weights by rule on the device: for checks without a checkpoint. */
  async loadByRule(device: Device, salt: number): Promise<void> {
    const { precision } = this.options;
    await fillWeightsByRule(device, this.textWeights, { salt, precision });
    await fillWeightsByRule(device, this.unetWeights, { salt, precision });
  }

  /** Frees the weights. */
  free(device: Device): void {
    for (const weights of [this.textWeights, this.unetWeights]) device.free(weights.all.map((spec) => spec.variable));
  }

  /** See `CLIPTextModel.forward`: ids i32 `[batch · rows, 77]` to `[batch, 75 · rows + 2, size]`. */
  encode(ids: Tensor, options: { adapters?: Adapters; rows?: number; clipSkip?: number } = {}): Tensor {
    const { adapters = noAdapters, rows = 1, clipSkip = this.options.clipSkip ?? 1 } = options;
    return new CLIPTextModel(new Source(this.textWeights, adapters), this.textConfig).forward(ids, { rows, clipSkip });
  }

  /** See `UNet2DConditionModel.forward`: sample `[batch, height, width, 4]`, timesteps `[batch]`, context `[batch, tokens, size]`. */
  denoise(sample: Tensor, timesteps: Tensor, context: Tensor, options: { adapters?: Adapters } = {}): Tensor {
    const { adapters = noAdapters } = options;
    return new UNet2DConditionModel(new Source(this.unetWeights, adapters), this.unetConfig)
      .forward(sample, timesteps, context);
  }
}

async function readSchedule(folder: string): Promise<NoiseSchedule> {
  const file = join(folder, "scheduler", "scheduler_config.json");
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (error) {
    if ((error as { code?: string }).code === "ENOENT") return new NoiseSchedule();
    throw error;
  }
  try {
    return NoiseSchedule.fromConfig(JSON.parse(text), { file });
  } catch (error) {
    if (error instanceof SyntaxError) throw new SyntaxError(`Cannot read ${file}: it is not JSON: ${error.message}`);
    throw error;
  }
}
