import { recordFolder } from "../../pipeline/mod.ts";
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { Device, NoAdapterError } from "../../engine/mod.ts";
import { BaseModel, type BaseModelOptions } from "../../models/base_model.ts";
import { Tokenizer } from "../../models/clip/tokenizer.ts";
import { toy } from "./toy.ts";

export { NoAdapterError };

/** Base models with their configurations read: what can be planned with. */
export interface OpenedBases {
  readonly network1: BaseModel;
  /** The same object when both networks share their base. */
  readonly network2: BaseModel;
}

/** Base models on a device. */
export interface LoadedBases extends OpenedBases {
  readonly device: Device;
  readonly tokenizer1: Tokenizer;
  readonly tokenizer2: Tokenizer;
  /** Frees the device and all that lives on it. */
  release(): void;
}

/** Where the bases are: one folder for both networks, or one each. */
export interface BaseFolders {
  readonly network1: string;
  readonly network2?: string;
}

/**
 * The small base model that comes with the project.
 *
 * @param name A folder, or `toy`.
 */
export function baseFolder(name: string): string {
  return name === "toy" ? toy.base : name;
}

/** Opens configurations; no device is asked for. A base that both networks name is opened once. */
export async function openBases(folders: BaseFolders, options: BaseModelOptions): Promise<OpenedBases> {
  const first = baseFolder(folders.network1), second = baseFolder(folders.network2 ?? folders.network1);
  for (const folder of new Set([first, second])) {
    const found = await stat(folder).catch((error) => {
      if (error.code === "ENOENT") return null;
      throw error;
    });
    if (!found?.isDirectory()) {
      throw new Error(
        `Cannot load the base model: ${folder} is ${
          found ? "no folder" : "not there"
        }; wanted a Diffusers folder with ` +
          "tokenizer, text_encoder, unet and vae, or toy",
      );
    }
  }
  const network1 = await BaseModel.open(first, options);
  if (first === second) return { network1, network2: network1 };
  const network2 = await BaseModel.open(second, options);
  await checkAlike(network1, network2);
  return { network1, network2 };
}

/** Two bases share latents, timesteps and file layout, so they must agree in VAE, noise schedule and layers. */
async function checkAlike(one: BaseModel, two: BaseModel): Promise<void> {
  const vae = async ({ folder }: BaseModel) =>
    JSON.stringify(await recordFolder(join(folder, "vae"), { followLinks: true }));
  const facts = {
    "noise schedule": ({ schedule }: BaseModel) => `${schedule.predictionType} ${schedule.alphasCumprod}`,
    layers: ({ textLayers, unetLayers }: BaseModel) => JSON.stringify([textLayers, unetLayers]),
  };
  const differing = Object.entries(facts).filter(([, of]) => of(one) !== of(two)).map(([what]) => what);
  if (await vae(one) !== await vae(two)) differing.push("VAE");
  if (differing.length === 0) return;
  throw new RangeError(
    `Cannot train on ${one.folder} and ${two.folder} together: they differ in ${differing.join(" and ")}. ` +
      "Use bases of one family, or one base for both networks",
  );
}

/** Puts bases on the machine's device. */
export async function loadBasesOn(
  folders: BaseFolders,
  options: BaseModelOptions,
  warn: (message: string) => void,
): Promise<LoadedBases> {
  const device = await Device.open();
  try {
    const isHalf = options.precision === "f16", canHalf = device.facts.target.f16;
    if (isHalf && !canHalf) warn(`${device.facts.name} has no 16-bit floats: weights are kept in f32`);
    const opened = await openBases(folders, isHalf && !canHalf ? { ...options, precision: "f32" } : options);
    for (const base of new Set([opened.network1, opened.network2])) {
      (await base.load(device)).warnings.forEach(warn);
    }
    const tokenizer = (base: BaseModel) => openTokenizer(join(base.folder, "tokenizer"));
    const tokenizer1 = await tokenizer(opened.network1);
    return {
      ...opened,
      device,
      tokenizer1,
      tokenizer2: opened.network2 === opened.network1 ? tokenizer1 : await tokenizer(opened.network2),
      release: () => device.dispose(),
    };
  } catch (error) {
    device.dispose();
    throw error;
  }
}

async function openTokenizer(folder: string): Promise<Tokenizer> {
  try {
    return await Tokenizer.fromFolder(folder);
  } catch (error) {
    if ((error as { code?: string }).code !== "ENOENT") throw error;
    throw new Error(`Cannot load the tokenizer: ${folder} must hold vocab.json and merges.txt`, { cause: error });
  }
}
