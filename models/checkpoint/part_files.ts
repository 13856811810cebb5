import { type ConfigJson, readConfigJson } from "../config_reader.ts";
import { laterKey, ldmKey, ldmPrefixes, type LdmSizes, type PartName } from "./ldm_keys.ts";
import type { Download, ModelFolder, OnBytes } from "./model_folder.ts";

/** How a part's files name its tensors. */
export interface PartNames {
  /** Names that a weight may have, from its key in the model; what all versions of the writing programs use. */
  of(key: string): readonly string[];
  /** Whether a tensor of the file belongs to this part at all. */
  belongs(name: string): boolean;
}

/** One model of a checkpoint: what it is built from, and the files that hold its weights. */
export interface PartFiles {
  readonly part: PartName;
  /** The file or folder, for messages. */
  readonly name: string;
  readonly config: ConfigJson;
  readonly names: PartNames;
  /** See `ModelFolder.revision`. */
  readonly revision: string | null;
  /** Paths of the files with tensors on this machine; fetched first where they are not there yet. */
  weightFiles(onBytes?: OnBytes): Promise<string[]>;
  /** What is to be fetched for that. */
  downloads(): Promise<Download[]>;
}

/** Names in a Diffusers folder. */
export function diffusersNames(part: PartName): PartNames {
  const of = (key: string) => [key, laterKey(part, key), ...shortTextKeys(part, key)].filter((name) => name !== null);
  return { of, belongs: () => true };
}

/**
 * Names in a single file of the original layout.
 *
 * @param options.hasPrefix False where a VAE's file leaves `first_stage_model.` out.
 */
export function ldmNames(part: PartName, sizes: LdmSizes, { hasPrefix = true } = {}): PartNames {
  const prefix = ldmPrefixes[part], cut = hasPrefix ? 0 : prefix.length;
  return {
    of: (key) => [key, ...shortTextKeys(part, key)].map((each) => ldmKey(part, each, sizes).slice(cut)),
    // A training run leaves the losses of the VAE's own training in its file, and copies of all weights.
    belongs: (name) =>
      name.startsWith(hasPrefix ? prefix : "") && !name.startsWith(`${prefix}loss.`.slice(cut)) &&
      !name.startsWith("model_ema."),
  };
}

/** Some checkpoints name the text encoder's tensors without the model's own name in front. */
function shortTextKeys(part: PartName, key: string): string[] {
  return part === "text_encoder" && key.startsWith("text_model.") ? [key.slice("text_model.".length)] : [];
}

/**
 * A part that lies in a Diffusers folder.
 *
 * @param at Where, such as `unet/`; `""` for the folder itself.
 */
export function folderPart(part: PartName, folder: ModelFolder, at: string, config: ConfigJson): PartFiles {
  return {
    part,
    name: `${folder.name}/${at}`.replace(/\/$/, ""),
    config,
    names: diffusersNames(part),
    revision: folder.revision,
    weightFiles: async (onBytes) => {
      const names = await findWeightFiles(folder, at, onBytes);
      return await Promise.all(names.map((name) => folder.path(name, onBytes)));
    },
    downloads: async () => {
      const found = await Promise.all((await findWeightFiles(folder, at)).map((name) => folder.download(name)));
      return found.filter((download) => download !== null);
    },
  };
}

/** Names of weight files without their endings, as diffusers and transformers write them. */
const stems = ["diffusion_pytorch_model", "model", "pytorch_model"];

/** Endings in the order of preference: full precision first, then 16 bits; files that can hold no code first. */
const endings = [
  ".safetensors",
  ".safetensors.index.json",
  ".fp16.safetensors",
  ".safetensors.index.fp16.json",
  ".bin",
  ".bin.index.json",
  ".fp16.bin",
  ".bin.index.fp16.json",
];

/**
 * Names of the files with a part's tensors: one, or those that an index names.
 *
 * @throws {Error} If there is none, or one of the index is not there.
 */
async function findWeightFiles(folder: ModelFolder, at: string, onBytes?: OnBytes): Promise<string[]> {
  const all = endings.flatMap((ending) => stems.map((stem) => `${at}${stem}${ending}`));
  const file = all.find((file) => folder.files.has(file)), where = `${folder.name}/${at}`.replace(/\/$/, "");
  if (file === undefined) {
    const inside = [...folder.files].filter((each) => each.startsWith(at)).map((each) => each.slice(at.length));
    const found = inside.length ? inside.toSorted().slice(0, 5).join(", ") : "nothing";
    throw new Error(
      `Cannot load ${where}: it holds ${found}, expected ${stems[0]}.safetensors or ${stems[1]}.safetensors, ` +
        "as diffusers writes them; .fp16 in the name and .bin at its end are read, too",
    );
  }
  if (!file.endsWith(".json")) return [file];
  const index = await readConfigJson(await folder.path(file, onBytes));
  const parts = [...shardsOf(index)].map((name) => `${at}${name}`);
  const lacking = parts.find((part) => !folder.files.has(part));
  if (lacking !== undefined) throw new Error(`Cannot load ${where}: ${file} names ${lacking}, which is not there`);
  return parts;
}

/** Names of the files that an index of a model in several files lists. */
function shardsOf({ file, json }: ConfigJson): Set<string> {
  const map = typeof json === "object" && json !== null ? (json as Record<string, unknown>).weight_map : null;
  const names = typeof map === "object" && map !== null ? Object.values(map) : [];
  if (names.length === 0 || !names.every((name) => typeof name === "string")) {
    throw new TypeError(`Cannot read ${file}: its weight_map names no files, expected one for each tensor`);
  }
  return new Set(names);
}
