import { stat } from "node:fs/promises";
import { openTensorFile } from "../../formats/open_tensor_file.ts";
import { type TensorFile, TensorFileError } from "../../formats/tensor_file.ts";
import { type ConfigJson, ConfigReader, readConfigJson } from "../config_reader.ts";
import { readUNetConfig } from "../unet/config.ts";
import { readVaeConfig } from "../vae/config.ts";
import { hubFolder, type HubOptions, isHubId } from "./hub.ts";
import { ldmPrefixes, type PartName } from "./ldm_keys.ts";
import { localFolder, type ModelFolder } from "./model_folder.ts";
import { diffusersNames, folderPart, ldmNames, type PartFiles, type PartNames } from "./part_files.ts";
import { type FileKind, recognizeFile, recognizeFolder, textualInversion } from "./recognize.ts";
import sd15Scheduler from "./sd15/scheduler.json" with { type: "json" };
import sd15TextEncoder from "./sd15/text_encoder.json" with { type: "json" };
import sd15UNet from "./sd15/unet.json" with { type: "json" };
import sd15Vae from "./sd15/vae.json" with { type: "json" };

/** What is taken from elsewhere than the checkpoint. */
export interface CheckpointOptions {
  /** Another VAE: a folder, a file, or the name of one on the hub. */
  readonly vae?: string;
  /** A Diffusers folder whose configurations and tokenizer a single file is read with. Left out: those of SD v1.5. */
  readonly config?: string;
  /** Where models on the hub come from. */
  readonly hub?: HubOptions;
}

/** A base model as it lies on the disk: its parts, and what else comes with it. Only configurations and names have been read. */
export interface Checkpoint {
  /** As the user named it. */
  readonly name: string;
  readonly textEncoder: PartFiles;
  readonly unet: PartFiles;
  /** null where the checkpoint has none and no other was named. */
  readonly vae: PartFiles | null;
  /** The noise schedule's options; null where there are none. */
  readonly scheduler: ConfigJson | null;
  /** The folder with the tokenizer's files, and their paths in it; null where there is none. */
  readonly tokenizer: { readonly folder: ModelFolder; readonly files: readonly string[] } | null;
  /** What the user should know of how it was found. */
  readonly notes: readonly string[];
}

type Configs = Readonly<Record<PartName, ConfigJson>>;

const sd15: Configs = {
  text_encoder: { file: "SD v1.5's text_encoder/config.json", json: sd15TextEncoder },
  unet: { file: "SD v1.5's unet/config.json", json: sd15UNet },
  vae: { file: "SD v1.5's vae/config.json", json: sd15Vae },
};
const sd15Schedule: ConfigJson = { file: "SD v1.5's scheduler/scheduler_config.json", json: sd15Scheduler };

/**
 * Finds the parts of a base model: of a Diffusers folder, of a single file in the original layout (`.safetensors`, `.ckpt`), or of a
 * model on the hub (`owner/name`, `owner/name@revision`). Of that, only configurations are fetched.
 *
 * @throws {Error} If it is not there, is another kind of file or model, or is not complete: what it is, and what to do.
 */
export async function openCheckpoint(name: string, options: CheckpointOptions = {}): Promise<Checkpoint> {
  const found = await findModel(name, options.hub);
  const checkpoint = found.folder
    ? await ofFolder(found.folder, options.config)
    : await ofFile(found.file, options.config);
  if (options.vae === undefined) return checkpoint;
  const other = await findModel(options.vae, options.hub), own = checkpoint.vae?.config ?? sd15.vae;
  const vae = other.folder ? await folderVae(options.vae, other.folder) : await fileVae(other.file, own);
  return { ...checkpoint, vae, notes: [...checkpoint.notes, ...notesOf(other.folder)] };
}

function notesOf(folder: ModelFolder | undefined): string[] {
  return folder?.note ? [folder.note] : [];
}

type Found = { readonly folder: ModelFolder; readonly file?: undefined } | {
  readonly folder?: undefined;
  readonly file: string;
};

async function findModel(name: string, hub?: HubOptions): Promise<Found> {
  const found = await stat(name).catch((error) => {
    if (error.code === "ENOENT") return null;
    throw error;
  });
  if (found?.isDirectory()) return { folder: await localFolder(name) };
  if (found) return { file: name };
  if (isHubId(name)) return { folder: await hubFolder(name, hub) };
  throw new Error(`Cannot load ${name}: it is not there; wanted a Diffusers folder, or a .safetensors or .ckpt file`);
}

async function ofFolder(folder: ModelFolder, otherConfig?: string): Promise<Checkpoint> {
  const config = async (file: string) => folder.files.has(file) ? await readConfigJson(await folder.path(file)) : null;
  const unet = await config("unet/config.json"), text = await config("text_encoder/config.json");
  const other = recognizeFolder(folder, { index: await config("model_index.json"), unet });
  if (other !== null) throw refusal(folder.name, other);
  if (unet === null || text === null) {
    const files = [...folder.files].filter((file) => /^[^/]+\.(safetensors|ckpt)$/.test(file)).sort();
    const here = folder.revision === null ? "name one of its files" : "fetch one of its files and name that";
    throw new Error(
      `Cannot load ${folder.name}: it has no ${
        unet === null ? "unet" : "text_encoder"
      }/config.json; wanted a Diffusers ` +
        `folder with text_encoder, unet, vae, tokenizer${files.length ? `; or ${here}, such as ${files[0]}` : ""}`,
    );
  }
  const vae = await config("vae/config.json");
  return {
    name: folder.name,
    textEncoder: folderPart("text_encoder", folder, "text_encoder/", text),
    unet: folderPart("unet", folder, "unet/", unet),
    vae: vae && folderPart("vae", folder, "vae/", vae),
    scheduler: await config("scheduler/scheduler_config.json"),
    tokenizer: tokenizerOf(folder),
    notes: [
      ...notesOf(folder),
      ...otherConfig === undefined
        ? []
        : [`${folder.name} has configurations of its own: those of ${otherConfig} (--base_config) are not read`],
    ],
  };
}

function tokenizerOf(folder: ModelFolder): Checkpoint["tokenizer"] {
  const present = (names: string[]) =>
    names.map((name) => `tokenizer/${name}`).filter((file) => folder.files.has(file));
  const needed = present(["vocab.json", "merges.txt"]);
  if (needed.length === 0) return null;
  return { folder, files: [...needed, ...present(["tokenizer_config.json", "special_tokens_map.json"])] };
}

async function ofFile(file: string, config: string | undefined): Promise<Checkpoint> {
  const { kind, hasVae } = await recognize(file);
  if (kind.kind === "other") throw refusal(file, kind);
  if (kind.kind === "vae") {
    throw refusal(file, {
      what: "a VAE alone",
      advice: "Name a whole checkpoint here, and this file as the VAE (option vae)",
    });
  }
  const given = config === undefined ? null : await ofFolder(await localFolder(config));
  const configs: Configs = given === null ? sd15 : {
    text_encoder: given.textEncoder.config,
    unet: given.unet.config,
    vae: given.vae?.config ?? sd15.vae,
  };
  const sizes = { unet: readUNetConfig(reader(configs.unet)), vae: readVaeConfig(reader(configs.vae)) };
  const part = (part: PartName) => filePart(part, file, configs[part], ldmNames(part, sizes));
  return {
    name: file,
    textEncoder: part("text_encoder"),
    unet: part("unet"),
    vae: hasVae ? part("vae") : null,
    scheduler: given === null ? sd15Schedule : given.scheduler,
    tokenizer: given && given.tokenizer,
    notes: [],
  };
}

function filePart(part: PartName, file: string, config: ConfigJson, names: PartNames): PartFiles {
  return {
    ...{ part, name: file, config, names, revision: null },
    weightFiles: () => Promise.resolve([file]),
    downloads: () => Promise.resolve([]),
  };
}

/** A VAE that takes the place of a checkpoint's own: of a Diffusers folder, or in a folder of its own. */
async function folderVae(name: string, folder: ModelFolder): Promise<PartFiles> {
  const at = ["vae/", ""].find((at) => folder.files.has(`${at}config.json`));
  if (at === undefined) {
    throw new Error(
      `Cannot load the VAE ${name}: it has neither vae/config.json nor config.json; wanted a VAE's folder`,
    );
  }
  const config = await readConfigJson(await folder.path(`${at}config.json`));
  // Another part's folder would be found out only when its weights are looked for.
  readVaeConfig(reader(config));
  return folderPart("vae", folder, at, config);
}

/**
 * A VAE that takes the place of a checkpoint's own: in a file.
 *
 * @param config What it is read with.
 */
async function fileVae(file: string, config: ConfigJson): Promise<PartFiles> {
  const { kind, hasVae } = await recognize(file);
  if (!hasVae) {
    const { what } = kind.kind === "other" ? kind : { what: "a checkpoint without its VAE" };
    throw new Error(
      `Cannot load the VAE ${file}: it is ${what}; wanted a VAE's file or folder, or a checkpoint with one`,
    );
  }
  if (kind.kind === "vae" && kind.names === "diffusers") return filePart("vae", file, config, diffusersNames("vae"));
  const sizes = { unet: readUNetConfig(reader(sd15.unet)), vae: readVaeConfig(reader(config)) };
  const hasPrefix = kind.kind !== "vae" || kind.names === "original";
  return filePart("vae", file, config, ldmNames("vae", sizes, { hasPrefix }));
}

async function recognize(file: string): Promise<{ kind: FileKind; hasVae: boolean }> {
  await using opened = await openNamedTensors(file);
  if (opened === null) return { kind: { kind: "other", ...textualInversion }, hasVae: false };
  const kind = recognizeFile(opened), isWhole = kind.kind === "checkpoint";
  const hasVae = isWhole && [...opened.tensors.keys()].some((name) => name.startsWith(`${ldmPrefixes.vae}encoder.`));
  return { kind, hasVae: hasVae || kind.kind === "vae" };
}

/** A file's tensors; null where it is an embedding as the WebUI saves it: its tensors lie deeper than a model's. */
async function openNamedTensors(file: string): Promise<TensorFile | null> {
  try {
    return await openTensorFile(file);
  } catch (error) {
    if (!(error instanceof TensorFileError) || error.fault !== "not_tensors") throw error;
    const within = await openTensorFile(file, { within: ["string_to_param"] }).catch(() => null);
    if (within === null) throw error;
    await within.close();
    return null;
  }
}

function reader({ file, json }: ConfigJson): ConfigReader {
  return new ConfigReader(file, json);
}

function refusal(name: string, { what, advice }: { what: string; advice: string }): Error {
  return new Error(`Cannot use ${name} as the base model: it is ${what}. ${advice}`);
}
