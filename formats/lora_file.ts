import { createHash } from "node:crypto";
import { encodeFinite, type FloatType } from "./element_types.ts";
import { writeFileAtomically } from "./atomic_file.ts";
import { openTensorFile } from "./open_tensor_file.ts";
import { checkTensorBytes, type TensorData } from "./tensor_data.ts";
import type { TensorFile, TensorInfo } from "./tensor_file.ts";
import { orderTensors, serializeHeader } from "./safetensors_writer.ts";
import { writeTorchCheckpoint } from "./torch_checkpoint/writer.ts";
import { compareCodePoints } from "./text_order.ts";

/** A weight of a LoRA module, row-major, in PyTorch's layout. */
export interface LoraWeight {
  readonly shape: readonly number[];
  readonly values: Float32Array<ArrayBuffer>;
}

/** One module of a LoRA file: it adds `up · down · alpha / rank` to the weight of the layer it is named for. */
export interface LoraFileModule {
  /** kohya's name: `lora_te_` or `lora_unet_` and the layer's path with dots as underscores. */
  readonly name: string;
  /** `[rank, in]` for a linear layer, `[rank, in, height, width]` for a convolution. */
  readonly down: LoraWeight;
  /** `[out, rank]` for a linear layer, `[out, rank, 1, 1]` for a convolution. */
  readonly up: LoraWeight;
  readonly alpha: number;
}

/** Element type of every tensor in the file, alpha too; names as `--save_precision` has them. */
export type SavePrecision = "float" | "fp16" | "bf16";

/** How a LoRA file is written. */
export interface WriteLoraOptions {
  /** Training metadata; keys usually start with `ss_`. Keys are sorted in the file. */
  readonly metadata?: ReadonlyMap<string, string>;
  /** Default: "float". */
  readonly precision?: SavePrecision;
  /**
   * Write alpha as I64. sd-scripts does so where no save precision is given and alpha is left at its default, an int.
   * Only with the precision "float" and whole alphas. Default: false.
   */
  readonly integerAlpha?: boolean;
}

/** What a LoRA file holds. */
export interface LoraFile {
  /** In the order of the file. */
  readonly modules: readonly LoraFileModule[];
  readonly metadata: ReadonlyMap<string, string>;
}

const DOWN = ".lora_down.weight";
const UP = ".lora_up.weight";
const ALPHA = ".alpha";
const NAME_STARTS = ["lora_te_", "lora_te1_", "lora_te2_", "lora_unet_"];
const FLOAT_TYPES: Record<SavePrecision, FloatType> = { float: "F32", fp16: "F16", bf16: "BF16" };

/**
 * A LoRA file in kohya's format, as the pieces of its bytes: what sd-scripts writes, with the metadata sorted by key.
 *
 * To the metadata come `sshs_model_hash`, the SHA-256 of the tensor bytes, and `sshs_legacy_hash`, the first 8 hex digits
 * of the SHA-256 over bytes 0x100000 to 0x10FFFF of the file as it would be with the `ss_` metadata alone.
 *
 * @throws {TypeError} If a module's name or shapes do not fit the format, or a name is taken twice.
 * @throws {RangeError} If a number is NaN or infinite, or becomes so in the precision.
 */
export function serializeLora(
  modules: readonly LoraFileModule[],
  options: WriteLoraOptions = {},
): Uint8Array<ArrayBuffer>[] {
  return serializeLoraTensors(modules.flatMap((module) => moduleTensors(module, options)), options.metadata);
}

/**
 * As {@link serializeLora}, of tensors as they are.
 *
 * @throws {TypeError} If a name is taken twice, or bytes and shape do not fit.
 */
export function serializeLoraTensors(
  unordered: readonly TensorData[],
  given: ReadonlyMap<string, string> = new Map(),
): Uint8Array<ArrayBuffer>[] {
  const tensors = orderTensors(unordered);
  for (const tensor of tensors) checkTensorBytes(tensor, tensor.bytes);
  const bodies = tensors.map(({ bytes }) => bytes);
  const forHash = serializeHeader(tensors, sorted([...given].filter(([key]) => key.startsWith("ss_"))));
  const metadata = sorted([
    ...[...given].filter(([key]) => !key.startsWith("sshs_")),
    ["sshs_model_hash", sha256(bodies)],
    ["sshs_legacy_hash", legacyHash([forHash, ...bodies])],
  ]);
  return [serializeHeader(tensors, metadata), ...bodies];
}

/**
 * Writes a LoRA file in kohya's format; see {@link serializeLora}. The path holds either the old file or the whole new one.
 *
 * @throws {TypeError} As {@link serializeLora}.
 * @throws What the file system throws.
 */
export async function writeLora(
  path: string,
  modules: readonly LoraFileModule[],
  options: WriteLoraOptions = {},
): Promise<void> {
  await writeFileAtomically(path, serializeLora(modules, options));
}

/**
 * Writes a LoRA file as `torch.save()` does (.pt, .ckpt): the dict of its tensors, in the order of the modules. It has no metadata.
 *
 * @throws {TypeError} As {@link serializeLora}.
 * @throws What the file system throws.
 */
export async function writeTorchLora(
  path: string,
  modules: readonly LoraFileModule[],
  options: Omit<WriteLoraOptions, "metadata"> = {},
): Promise<void> {
  await writeTorchCheckpoint(path, modules.flatMap((module) => moduleTensors(module, options)));
}

/**
 * First 8 hex digits of the SHA-256 over bytes 0x100000 to 0x10FFFF: the hash that older programs know a model by.
 *
 * @param pieces The file's bytes, in order. A file below 1 MiB gives the hash of nothing, e3b0c442.
 */
export function legacyHash(pieces: readonly Uint8Array[]): string {
  const [from, to] = [0x100000, 0x110000];
  const range: Uint8Array[] = [];
  let offset = 0;
  for (const piece of pieces) {
    range.push(piece.subarray(Math.max(0, from - offset), Math.max(0, to - offset)));
    offset += piece.length;
  }
  return sha256(range).slice(0, 8);
}

function moduleTensors(module: LoraFileModule, options: WriteLoraOptions): TensorData[] {
  const { name, down, up, alpha } = module;
  const fail = (message: string) => new TypeError(`Cannot write LoRA module ${JSON.stringify(name)}: ${message}`);
  const fault = nameFault(name) ?? shapeFault(down.shape, up.shape);
  if (fault !== null) throw fail(fault);
  const { precision = "float", integerAlpha = false } = options;
  if (integerAlpha && (precision !== "float" || !Number.isSafeInteger(alpha))) {
    throw fail(`integerAlpha needs precision "float" and whole alphas, found "${precision}" and ${alpha}`);
  }
  const type = FLOAT_TYPES[precision];
  const alphaTensor = integerAlpha
    ? { type: "I64", bytes: new Uint8Array(new BigInt64Array([BigInt(alpha)]).buffer) } as const
    : { type, bytes: encodeFinite(new Float32Array([alpha]), type, name + ALPHA) };
  return [
    { name: name + ALPHA, shape: [], ...alphaTensor },
    { name: name + DOWN, shape: down.shape, type, bytes: encodeFinite(down.values, type, name + DOWN) },
    { name: name + UP, shape: up.shape, type, bytes: encodeFinite(up.values, type, name + UP) },
  ];
}

/**
 * Reads a LoRA file in kohya's format, as safetensors or as PyTorch's own. Weights come as float32 whatever the file's precision; a missing alpha, or one of 0, is
 * the rank.
 *
 * @throws {TensorFileError} If the file is no sound file of tensors.
 * @throws {TypeError} If a tensor is none of a LoRA file's, a module lacks a weight, or shapes do not fit each other.
 */
export async function readLora(path: string): Promise<LoraFile> {
  await using file = await openTensorFile(path);
  return await loraFrom(file);
}

/** Shapes and alpha of a LoRA module, without its weights. */
export interface LoraModuleShapes {
  readonly down: readonly number[];
  readonly up: readonly number[];
  readonly alpha: number;
}

/**
 * What modules a LoRA file has, by name: weights are not read, but their shapes and alphas.
 *
 * @throws As {@link readLora}.
 */
export async function readLoraShapes(path: string): Promise<Map<string, LoraModuleShapes>> {
  await using file = await openTensorFile(path);
  const found = new Map<string, LoraModuleShapes>();
  for (const name of moduleNames(file)) found.set(name, await readShapes(file, name));
  return found;
}

/** As {@link readLora}, from a file that is open already; it stays open. */
export async function loraFrom(file: TensorFile): Promise<LoraFile> {
  const modules: LoraFileModule[] = [];
  for (const name of moduleNames(file)) modules.push(await readModule(file, name));
  return { modules, metadata: file.metadata ?? new Map() };
}

function moduleNames(file: TensorFile): Set<string> {
  const names = new Set<string>();
  for (const key of file.tensors.keys()) {
    const end = [DOWN, UP, ALPHA].find((end) => key.endsWith(end));
    const fault = end === undefined
      ? `expected a name that ends in ${DOWN}, ${UP} or ${ALPHA}: ${
        /\.lora_[AB]\.weight$/.test(key)
          ? "diffusers' names, the command convert renames them"
          : "another kind of adapter than LoRA"
      }`
      : nameFault(key.slice(0, -end.length));
    if (fault !== null) throw new TypeError(`Cannot read ${file.path}, tensor ${JSON.stringify(key)}: ${fault}`);
    names.add(key.slice(0, -end!.length));
  }
  return names;
}

async function readModule(file: TensorFile, name: string): Promise<LoraFileModule> {
  const { down, up, alpha } = await readShapes(file, name);
  return {
    name,
    down: { shape: down, values: await file.float32(name + DOWN) },
    up: { shape: up, values: await file.float32(name + UP) },
    alpha,
  };
}

async function readShapes(file: TensorFile, name: string): Promise<LoraModuleShapes> {
  const fail = (message: string) =>
    new TypeError(`Cannot read ${file.path}, LoRA module ${JSON.stringify(name)}: ${message}`);
  for (const end of [DOWN, UP]) {
    if (!file.tensors.has(name + end)) throw fail(`it has no ${end.slice(1)}`);
  }
  const [down, up] = [file.entry(name + DOWN), file.entry(name + UP)];
  const fault = shapeFault(down.shape, up.shape);
  if (fault !== null) throw fail(fault);
  const alpha = file.tensors.get(name + ALPHA);
  if (alpha !== undefined && alpha.shape.some((size) => size !== 1)) {
    throw fail(`alpha has shape [${alpha.shape}], expected one number`);
  }
  // sd-scripts takes an alpha of 0 for none.
  const given = alpha === undefined ? 0 : await readNumber(file, alpha);
  return { down: down.shape, up: up.shape, alpha: given || down.shape[0] };
}

async function readNumber(file: TensorFile, { name, type }: TensorInfo): Promise<number> {
  const [value] = /^B?F/.test(type) ? await file.float32(name) : await file.int32(name);
  return value;
}

function nameFault(name: string): string | null {
  if (NAME_STARTS.some((start) => name.startsWith(start) && name.length > start.length)) {
    return name.includes(".") ? "its name holds a dot, expected the layer's path with underscores" : null;
  }
  return `its name starts with none of ${NAME_STARTS.join(", ")}, as kohya's format wants it`;
}

function shapeFault(down: readonly number[], up: readonly number[]): string | null {
  const found = `lora_down has shape [${down}], lora_up [${up}]`;
  if (!(down.length === 2 || down.length === 4) || up.length !== down.length) {
    return `${found}; expected both to have 2 dimensions (linear) or both 4 (convolution)`;
  }
  if (up.length === 4 && (up[2] !== 1 || up[3] !== 1)) return `${found}; expected lora_up to be a 1x1 convolution`;
  if (down[0] !== up[1]) return `${found}; their ranks differ: ${down[0]} and ${up[1]}`;
  return down[0] === 0 ? `${found}; the rank is 0` : null;
}

function sorted(pairs: [string, string][]): Map<string, string> {
  return new Map(pairs.toSorted(([a], [b]) => compareCodePoints(a, b)));
}

function sha256(pieces: readonly Uint8Array[]): string {
  const hash = createHash("sha256");
  for (const piece of pieces) hash.update(piece);
  return hash.digest("hex");
}
