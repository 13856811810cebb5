import { copyFile, cp, mkdir, readdir, stat } from "node:fs/promises";
import { basename, dirname, join, relative, resolve } from "node:path";
import { writeFolderAtomically } from "../../formats/atomic_folder.ts";
import { decodeFloat32, encodeFinite, type FloatType } from "../../formats/element_types.ts";
import { type LoraFile, readLora, type SavePrecision } from "../../formats/lora_file.ts";
import { openTensorFile } from "../../formats/open_tensor_file.ts";
import { writeSafetensors } from "../../formats/safetensors_writer.ts";
import type { TensorSource } from "../../formats/tensor_data.ts";
import type { TensorFile } from "../../formats/tensor_file.ts";
import { TorchCheckpoint } from "../../formats/torch_checkpoint/torch_checkpoint.ts";
import { writeTorchCheckpoint } from "../../formats/torch_checkpoint/writer.ts";
import { addLoraFactors, concatenateLoras } from "../../lora/combine.ts";
import { type LoraToMerge, mergeInto } from "../../lora/merge.ts";
import { BaseModel } from "../../models/base_model.ts";
import { openCheckpoint } from "../../models/checkpoint/checkpoint.ts";
import { OpenedPart } from "../../models/checkpoint/opened_part.ts";
import type { PartFiles } from "../../models/checkpoint/part_files.ts";
import type { Weights } from "../../models/weights.ts";
import { baseFolder } from "../values/bases.ts";
import { checkOutput, checkOutputName, isTorchFile } from "./output.ts";
import { writeLoraFile } from "./write_lora_file.ts";

/** A LoRA file and how strong it is to be. */
export interface RatedLora {
  readonly file: string;
  readonly ratio: number;
}

/** How LoRA files are merged with each other. */
export interface MergeLorasOptions {
  /** Ranks add up and the change of weights is the exact sum; else the factors are added: see `addLoraFactors`. */
  readonly concat?: boolean;
  /** Numbers in the file; `float` when left out. */
  readonly precision?: SavePrecision;
}

/**
 * Merges LoRA files into one.
 *
 * @returns How many modules it has.
 * @throws {RangeError} If a ratio is no number, the output is an input, or modules do not fit each other.
 */
export async function mergeLoras(
  loras: readonly RatedLora[],
  output: string,
  { concat = false, precision = "float" }: MergeLorasOptions = {},
): Promise<number> {
  await checkOutput(output, loras.map(({ file }) => file));
  const read = await readAll(loras), toMerge = read.map(({ lora }) => lora);
  const modules = concat ? concatenateLoras(toMerge) : addLoraFactors(toMerge);
  await writeLoraFile(output, modules, { precision, from: read.map(({ metadata }) => metadata) });
  return modules.length;
}

/** How a merged base is written. */
export interface MergeIntoBaseOptions {
  /** Type of all floating-point tensors; each tensor's own when left out. */
  readonly precision?: SavePrecision;
  /** A Diffusers folder whose configurations a single file is read with; SD v1.5's when left out. */
  readonly config?: string;
}

/**
 * Merges LoRA files into a base model and writes it in its own layout: a folder as a folder, a file as a file, as safetensors or PyTorch's by the output's ending. Tensors are
 * read, changed and written one at a time; those that no module changes keep their bytes.
 *
 * @param base A Diffusers folder, a file in the original layout, or `toy`.
 * @throws {RangeError} If a module has no layer in the base model, its shapes are not the layer's, or the output is an input.
 * @throws {Error} If the base is not on this machine, or not complete.
 */
export async function mergeLorasIntoBase(
  base: string,
  loras: readonly RatedLora[],
  output: string,
  { precision, config }: MergeIntoBaseOptions = {},
): Promise<void> {
  const path = baseFolder(base), found = await stat(path).catch(() => null);
  if (!found) {
    throw new Error(`Cannot merge into ${base}: it is not on this machine; wanted a Diffusers folder or a file`);
  }
  if (found.isDirectory()) await checkOutputFolder(output, path);
  else await checkOutput(output, [path, ...loras.map(({ file }) => file)]);
  const checkpoint = await openCheckpoint(path, config === undefined ? {} : { config: baseFolder(config) });
  const model = await BaseModel.open(checkpoint), read = await readAll(loras);
  const change = mergeInto({ text_encoder: model.textLayers, unet: model.unetLayers }, read.map(({ lora }) => lora));
  const { textEncoder, unet } = checkpoint, type = precision && floatTypes[precision];
  const changes = new Changes(change);
  await changes.add("text_encoder", textEncoder, model.textWeights);
  await changes.add("unet", unet, model.unetWeights);
  if (!found.isDirectory()) return await rewrite(path, output, changes.of(path), type);
  const parts = [textEncoder, unet, ...type && checkpoint.vae ? [checkpoint.vae] : []];
  await writeFolderAtomically(output, async (folder) => {
    const rewritten: string[] = [];
    for (const part of parts) {
      const files = await part.weightFiles(), inside = basename(dirname(files[0]));
      rewritten.push(inside);
      await mkdir(join(folder, inside));
      for (const name of await readdir(join(path, inside))) {
        // Other files of weights there would be those of the base as it was.
        const isIndex = files.length > 1 && /\.index\.(\w+\.)?json$/.test(name);
        if (name === "config.json" || isIndex) await copyFile(join(path, inside, name), join(folder, inside, name));
      }
      for (const file of files) await rewrite(file, join(folder, inside, basename(file)), changes.of(file), type);
    }
    for (const name of await readdir(path)) {
      if (rewritten.includes(name) || /\.(safetensors|ckpt|bin|pt)$/.test(name)) continue;
      await cp(join(path, name), join(folder, name), { recursive: true });
    }
  });
}

const floatTypes: Readonly<Record<SavePrecision, FloatType>> = { float: "F32", fp16: "F16", bf16: "BF16" };

type Change = (values: Float32Array) => Float32Array;

/** What becomes of the tensors of files, by their names there. */
class Changes {
  private readonly byFile = new Map<string, Map<string, Change>>();

  constructor(private readonly change: ReturnType<typeof mergeInto>) {}

  /** Looks up where a part's weights lie. */
  async add(name: "text_encoder" | "unet", part: PartFiles, weights: Weights): Promise<void> {
    await using opened = await OpenedPart.open(part);
    for (const [{ key }, { file, info }] of opened.find(weights)) {
      const change = this.change(name, key);
      if (!change) continue;
      const inside = this.byFile.get(file.path) ?? new Map<string, Change>();
      this.byFile.set(file.path, inside.set(info.name, change));
    }
  }

  of(file: string): ReadonlyMap<string, Change> {
    return this.byFile.get(file) ?? new Map();
  }
}

/** Writes a file of tensors anew, in its own format. */
async function rewrite(
  from: string,
  to: string,
  changes: ReadonlyMap<string, Change>,
  type: FloatType | undefined,
): Promise<void> {
  await using file = await openTensorFile(from);
  const tensors = [...file.tensors.keys()].map((name) => changed(file, name, changes.get(name), type));
  if (!isTorchFile(to)) return await writeSafetensors(to, tensors, file.metadata ? { metadata: file.metadata } : {});
  const isWithin = !(file instanceof TorchCheckpoint) || file.within.length > 0;
  const counters = new Map(
    [...file instanceof TorchCheckpoint && file.metadata || []].filter(([, value]) => /^\d+$/.test(value))
      .map(([name, value]) => [name, Number(value)]),
  );
  await writeTorchCheckpoint(to, tensors, isWithin ? { within: "state_dict", counters } : {});
}

function changed(
  file: TensorFile,
  name: string,
  change: Change | undefined,
  wanted: FloatType | undefined,
): TensorSource {
  const { type, shape } = file.entry(name), isFloat = /^B?F/.test(type);
  const to = isFloat ? wanted ?? (type === "F64" ? "F32" : type as FloatType) : null;
  if (to === null || (!change && (wanted === undefined || to === type))) {
    return { name, type, shape, read: () => file.bytes(name) };
  }
  const read = async () => {
    const values = decodeFloat32(await file.bytes(name), type);
    return encodeFinite(change ? Float32Array.from(change(values)) : values, to, name);
  };
  return { name, type: to, shape, read };
}

async function readAll(loras: readonly RatedLora[]): Promise<{ lora: LoraToMerge; metadata: LoraFile["metadata"] }[]> {
  const wrong = loras.find(({ ratio }) => !Number.isFinite(ratio));
  if (wrong) throw new RangeError(`Cannot merge ${wrong.file}: its ratio is ${wrong.ratio}, must be a number`);
  if (loras.length === 0) throw new RangeError("Cannot merge: no LoRA file is named, at least one is needed");
  const read: { lora: LoraToMerge; metadata: LoraFile["metadata"] }[] = [];
  for (const { file, ratio } of loras) {
    const { modules, metadata } = await readLora(file);
    read.push({ lora: { name: file, modules, multiplier: ratio }, metadata });
  }
  return read;
}

/** A folder is written whole, so nothing that is there is replaced. */
async function checkOutputFolder(output: string, base: string): Promise<void> {
  checkOutputName(output);
  if (await stat(output).catch(() => null)) {
    throw new Error(`Cannot write ${output}: it is there already; give the result another name`);
  }
  if (!relative(base, output).startsWith("..")) {
    throw new Error(`Cannot write ${output}: it lies inside of ${base}, which is read; name a folder elsewhere`);
  }
  const parent = dirname(resolve(output));
  if (!(await stat(parent).catch(() => null))?.isDirectory()) {
    throw new Error(`Cannot write ${output}: there is no folder ${parent}; make it first`);
  }
}
