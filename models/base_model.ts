import { byteLength, type Device, type FloatFormat, type Tensor, type Variable } from "../engine/mod.ts";
import { type Checkpoint, openCheckpoint } from "./checkpoint/checkpoint.ts";
import type { PartFiles } from "./checkpoint/part_files.ts";
import { readTextEncoderConfig, type TextEncoderConfig } from "./clip/config.ts";
import { CLIPTextModel } from "./clip/text_encoder.ts";
import { ConfigReader } from "./config_reader.ts";
import { type ChangeWeight, fillWeightsByRule, type LoadProgress, loadWeights } from "./load.ts";
import { NoiseSchedule } from "./noise/schedule.ts";
import { type Adapters, type LayerInfo, Source } from "./source.ts";
import { readUNetConfig, type UNetConfig } from "./unet/config.ts";
import { UNet2DConditionModel } from "./unet/unet_2d_condition.ts";
import { readVaeConfig } from "./vae/config.ts";
import { Weights } from "./weights.ts";

/** How a base model is read and kept. */
export interface BaseModelOptions {
  /** What frozen weights are stored in on the device; 16 bits halve them. f32 when left out. */
  readonly precision?: FloatFormat;
  /** `int8` stores the weights of linear layers and convolutions in 8 bits, with a scale for 32 neighbours each; as `precision` says when left out. */
  readonly frozenWeights?: "int8";
  /** Products of what is stored in f16 are multiplied in f16, on a device that is opened so; pictures are then sampled with f16 activations. */
  readonly f16Arithmetic?: boolean;
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
  /** Linear layers of the text encoder, in transformers' order. */
  readonly textLayers: readonly LayerInfo[];
  /** Linear layers and convolutions of the UNet, in diffusers' order. */
  readonly unetLayers: readonly LayerInfo[];
  readonly textWeights: Weights;
  readonly unetWeights: Weights;
  /** What the weights are stored in on a device. */
  readonly precision: FloatFormat;

  private constructor(
    /** Where its files are. */
    readonly checkpoint: Checkpoint,
    readonly textConfig: TextEncoderConfig,
    readonly unetConfig: UNetConfig,
    readonly schedule: NoiseSchedule,
    /** Latents are multiplied by it before noise is added: what the VAE's configuration says, 0.18215 without a VAE. */
    readonly latentScale: number,
    /** How it is read and kept. */
    readonly options: BaseModelOptions,
  ) {
    this.precision = options.precision ?? "f32";
    const inEightBits = options.frozenWeights === "int8";
    this.textWeights = new Weights("text_encoder", this.precision, inEightBits);
    this.unetWeights = new Weights("unet", this.precision, inEightBits);
    const textSource = new Source(this.textWeights), unetSource = new Source(this.unetWeights);
    new CLIPTextModel(textSource, textConfig);
    new UNet2DConditionModel(unetSource, unetConfig);
    this.textLayers = textSource.layers;
    this.unetLayers = unetSource.layers;
  }

  /**
   * Reads the configurations of a checkpoint. Without a noise schedule it has SD v1.5's.
   *
   * @param from A checkpoint, or what `openCheckpoint` takes.
   * @throws {Error} If a file is missing or asks for what is not supported, naming it.
   */
  static async open(from: Checkpoint | string, options: BaseModelOptions = {}): Promise<BaseModel> {
    const checkpoint = typeof from === "string" ? await openCheckpoint(from) : from;
    const { name, textEncoder, unet, vae, scheduler } = checkpoint;
    const reader = ({ config: { file, json } }: PartFiles) => new ConfigReader(file, json);
    const textConfig = readTextEncoderConfig(reader(textEncoder)), unetConfig = readUNetConfig(reader(unet));
    if (textConfig.size !== unetConfig.contextSize) {
      throw new RangeError(
        `Cannot use ${name}: ${unet.config.file} has cross_attention_dim ${unetConfig.contextSize}, ` +
          `but ${textEncoder.config.file} has hidden_size ${textConfig.size}; they must be equal`,
      );
    }
    const schedule = scheduler ? NoiseSchedule.fromConfig(scheduler.json, scheduler) : new NoiseSchedule();
    const latentScale = vae ? readVaeConfig(reader(vae)).scalingFactor : 0.18215;
    return new BaseModel(checkpoint, textConfig, unetConfig, schedule, latentScale, options);
  }

  /** Numbers in both models. */
  get parameterCount(): number {
    return this.textWeights.parameterCount + this.unetWeights.parameterCount;
  }

  /** The weights on a device. */
  get variables(): Variable[] {
    return [...this.textWeights.all, ...this.unetWeights.all].map((spec) => spec.variable);
  }

  /** What the weights take on a device. */
  get weightBytes(): number {
    return this.variables.reduce((sum, variable) => sum + byteLength(variable), 0);
  }

  /**
   * Puts the weights of the checkpoint's files on the device.
   *
   * @param change What becomes of a weight of a part on the way, such as LoRA files that are merged into it.
   */
  async load(
    device: Device,
    progress: LoadProgress = {},
    change: (part: "text_encoder" | "unet", key: string) => ReturnType<ChangeWeight> = () => null,
  ): Promise<{ warnings: string[] }> {
    const { textEncoder, unet } = this.checkpoint, warnings: string[] = [];
    const parts = [["text_encoder", textEncoder, this.textWeights], ["unet", unet, this.unetWeights]] as const;
    for (const [name, part, weights] of parts) {
      const options = { ...progress, change: (key: string) => change(name, key) };
      const { file, unknownKeys } = await loadWeights(device, weights, part, options);
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
    await fillWeightsByRule(device, this.textWeights, { salt });
    await fillWeightsByRule(device, this.unetWeights, { salt });
  }

  /** Frees the weights. */
  free(device: Device): void {
    device.free(this.variables);
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
