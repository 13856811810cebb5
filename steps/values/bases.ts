import { dirname } from "node:path";
import { Device, DeviceLostError, NoAdapterError, OutOfMemoryError } from "../../engine/mod.ts";
import { readLora } from "../../formats/lora_file.ts";
import { type LoraToMerge, mergeInto } from "../../lora/merge.ts";
import { BaseModel, type BaseModelOptions } from "../../models/base_model.ts";
import { type Checkpoint, openCheckpoint } from "../../models/checkpoint/checkpoint.ts";
import type { OnBytes } from "../../models/checkpoint/model_folder.ts";
import type { HubOptions } from "../../models/checkpoint/hub.ts";
import { clipTokenizer, clipVocabularySize } from "../../models/clip/clip_vocabulary.ts";
import { Tokenizer } from "../../models/clip/tokenizer.ts";
import { VaeModel } from "../../models/vae_model.ts";
import { haveSameContent } from "./checkpoint_content.ts";
import { toy } from "./toy.ts";

export { DeviceLostError, NoAdapterError, OutOfMemoryError };

/** Base models with their configurations read: what can be planned with. */
export interface OpenedBases {
  readonly network1: BaseModel;
  /** The same object when both networks share their base. */
  readonly network2: BaseModel;
  /** LoRA files that are merged into all of them. */
  readonly merged?: readonly MergedLora[];
}

/** Base models on a device. */
export interface LoadedBases extends OpenedBases {
  readonly device: Device;
  readonly tokenizer1: Tokenizer;
  readonly tokenizer2: Tokenizer;
  /** Frees the device and all that lives on it. */
  release(): void;
}

/** The bases as network 2 alone has them: its own in the place of network 1's, and the other way round. */
export function swappedBases(bases: LoadedBases): LoadedBases {
  const { network1, network2, tokenizer1, tokenizer2 } = bases;
  return { ...bases, network1: network2, network2: network1, tokenizer1: tokenizer2, tokenizer2: tokenizer1 };
}

/** Where the bases are: one for both networks, or one each. */
export interface BaseNames {
  /**
   * A Diffusers folder, a single file in the original layout (`.safetensors`, `.ckpt`), `toy`, or the name of a model on the hub: `owner/name`,
   * `owner/name@revision`. Only for that is the network used.
   */
  readonly network1: string;
  /** Network 1's when left out. */
  readonly network2?: string;
  /** A VAE that takes the place of the bases' own: a folder, a file (`.safetensors`, `.ckpt`, `.pt`), or one on the hub. */
  readonly vae?: string;
  /** Where models on the hub come from. */
  readonly hub?: HubOptions;
  /** A Diffusers folder whose configurations and tokenizer single files are read with; SD v1.5's when left out. */
  readonly config?: string;
  /** LoRA files that are merged into all bases before anything is trained, one after another (`--base_weights`). */
  readonly merge?: readonly MergedLora[];
}

/** A LoRA file that is merged into a base model. */
export interface MergedLora {
  readonly weights: string;
  /** Strength; 1 when left out (`--base_weights_multiplier`). */
  readonly multiplier?: number;
}

/** The small base model that comes with the project, for `toy`; else the name itself. */
export function baseFolder(name: string): string {
  return name === "toy" ? toy.base : name;
}

/** Opens configurations; no device is asked for. A base that both networks name is opened once. */
export async function openBases(names: BaseNames, options: BaseModelOptions): Promise<OpenedBases> {
  const { network1: first, network2: second = first, config, vae, hub, merge } = names;
  const merged = merge ? { merged: merge } : {};
  const open = async (name: string) => {
    const checkpoint = await openCheckpoint(baseFolder(name), {
      ...config === undefined ? {} : { config: baseFolder(config) },
      ...vae === undefined ? {} : { vae: baseFolder(vae) },
      ...hub === undefined ? {} : { hub },
    });
    if (checkpoint.vae === null) {
      throw new Error(`Cannot load ${checkpoint.name}: it has no VAE; name one with the option vae`);
    }
    return checkpoint;
  };
  const checkpoint1 = await open(first), network1 = await BaseModel.open(checkpoint1, options);
  if (baseFolder(first) === baseFolder(second)) return { network1, network2: network1, ...merged };
  const checkpoint2 = await open(second);
  if (await haveSameContent(checkpoint1, checkpoint2)) return { network1, network2: network1, ...merged };
  const network2 = await BaseModel.open(checkpoint2, options);
  await checkAlike(network1, network2);
  return { network1, network2, ...merged };
}

/** Two bases share latents, timesteps and file layout, so they must agree in VAE, noise schedule and layers. */
async function checkAlike(one: BaseModel, two: BaseModel): Promise<void> {
  const facts = {
    "noise schedule": ({ schedule }: BaseModel) => `${schedule.predictionType} ${schedule.alphasCumprod}`,
    layers: ({ textLayers, unetLayers }: BaseModel) => JSON.stringify([textLayers, unetLayers]),
    "latent scale": ({ latentScale }: BaseModel) => latentScale,
  };
  const differing = Object.entries(facts).filter(([, of]) => of(one) !== of(two)).map(([what]) => what);
  const vae = ({ checkpoint }: BaseModel) => VaeModel.contentHash(checkpoint);
  if (await vae(one) !== await vae(two)) differing.push("VAE");
  if (differing.length === 0) return;
  throw new RangeError(
    `Cannot train on ${one.checkpoint.name} and ${two.checkpoint.name} together: they differ in ` +
      `${differing.join(" and ")}. Use bases of one family, or one base for both networks; the option vae gives both ` +
      "the same VAE",
  );
}

/** What happens while bases are loaded. */
export interface LoadingEvents {
  warn(message: string): void;
  /** Bytes of weights that are on the device, and all of them. */
  onLoaded?(doneBytes: number, totalBytes: number): void;
  /** Bytes of a file that came from the hub. */
  onFetched?: OnBytes;
}

/**
 * Puts bases on the machine's device.
 *
 * @throws {RangeError} If a tokenizer has tokens that its text encoder has no place for.
 */
export async function loadBasesOn(
  names: BaseNames,
  options: BaseModelOptions,
  { warn, onLoaded, onFetched }: LoadingEvents,
): Promise<LoadedBases> {
  const device = await Device.open(options.f16Arithmetic ? { f16Arithmetic: true } : {});
  try {
    const opened = await openBases(names, options);
    const distinct = new Set([opened.network1, opened.network2]);
    const totalBytes = [...distinct].reduce((total, base) => total + base.weightBytes, 0);
    const tokenizers: Tokenizer[] = [];
    const loras = await Promise.all(
      (names.merge ?? []).map(async ({ weights, multiplier = 1 }): Promise<LoraToMerge> => ({
        name: weights,
        modules: (await readLora(weights)).modules,
        multiplier,
      })),
    );
    let doneBytes = 0;
    for (const base of distinct) {
      base.checkpoint.notes.forEach(warn);
      tokenizers.push(await openTokenizer(base));
      const progress = {
        onLoaded: (sizeBytes: number) => onLoaded?.(doneBytes += sizeBytes, totalBytes),
        ...onFetched ? { onFetched } : {},
      };
      const change = mergeInto({ text_encoder: base.textLayers, unet: base.unetLayers }, loras);
      (await base.load(device, progress, change)).warnings.forEach(warn);
      // Fetched here if it is on the hub: later steps that load it do not report that.
      await base.checkpoint.vae?.weightFiles(onFetched);
    }
    const [tokenizer1, tokenizer2 = tokenizer1] = tokenizers;
    return { ...opened, device, tokenizer1, tokenizer2, release: () => device.dispose() };
  } catch (error) {
    device.dispose();
    throw error;
  }
}

/** The checkpoint's tokenizer; CLIP's own where it brings none and has CLIP's vocabulary. */
export async function openTokenizer({ checkpoint, textConfig }: BaseModel): Promise<Tokenizer> {
  const { name, tokenizer: found } = checkpoint, { vocabularySize } = textConfig;
  if (found === null && vocabularySize !== clipVocabularySize) {
    throw new Error(
      `Cannot load the tokenizer of ${name}: it has none, and CLIP's own has ${clipVocabularySize} tokens, its text encoder ` +
        `${vocabularySize}; a folder tokenizer with vocab.json and merges.txt is wanted`,
    );
  }
  const tokenizer = found === null ? await clipTokenizer() : await readTokenizer(found);
  if (tokenizer.largestId >= vocabularySize) {
    throw new RangeError(
      `Cannot use the tokenizer of ${name}: it has the id ${tokenizer.largestId}, but the text encoder's vocabulary ends at ` +
        `${vocabularySize - 1}. Do they belong together?`,
    );
  }
  return tokenizer;
}

async function readTokenizer({ folder, files }: NonNullable<Checkpoint["tokenizer"]>): Promise<Tokenizer> {
  const paths = await Promise.all(files.map((file) => folder.path(file))), where = dirname(paths[0]);
  try {
    return await Tokenizer.fromFolder(where);
  } catch (error) {
    if ((error as { code?: string }).code !== "ENOENT") throw error;
    throw new Error(`Cannot load the tokenizer: ${where} must hold vocab.json and merges.txt`, { cause: error });
  }
}
