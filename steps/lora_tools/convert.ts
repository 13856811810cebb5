import { writeFileAtomically } from "../../formats/atomic_file.ts";
import { decodeFloat32, decodeInt32, type ElementType, encodeFloat32 } from "../../formats/element_types.ts";
import { serializeLoraTensors } from "../../formats/lora_file.ts";
import { openTensorFile } from "../../formats/open_tensor_file.ts";
import { writeSafetensors } from "../../formats/safetensors_writer.ts";
import type { TensorData } from "../../formats/tensor_data.ts";
import type { TensorFile } from "../../formats/tensor_file.ts";
import { writeTorchCheckpoint } from "../../formats/torch_checkpoint/writer.ts";
import { diffusersPath, kohyaName } from "../../lora/diffusers_keys.ts";
import { checkOutput, isTorchFile } from "./output.ts";

/** How a LoRA file names its tensors: kohya's `lora_unet_….lora_down.weight`, or diffusers' and PEFT's `unet.….lora_A.weight`. */
export const loraLayouts = ["kohya", "diffusers"] as const;

/** One of {@linkcode loraLayouts}. */
export type LoraLayout = (typeof loraLayouts)[number];

/** How a LoRA file is converted. */
export interface ConvertOptions {
  /** The other layout than the file's when left out. */
  readonly to?: LoraLayout;
  /**
   * What becomes of alpha in diffusers' layout, which has none: `fold` multiplies `lora_B` by `alpha / rank` and notes alpha in the metadata, so that the way back
   * finds it; `keep` writes it as a tensor beside the others. `fold` when left out.
   */
  readonly alpha?: "fold" | "keep";
}

/** What was converted. */
export interface Conversion {
  readonly from: LoraLayout;
  readonly to: LoraLayout;
  readonly modules: number;
  /** Modules whose weights folding has rounded: the way back gives them with an error in the last digit. */
  readonly rounded: readonly string[];
}

type Role = "down" | "up" | "alpha";

/** Metadata of a file with folded alphas: `{"unet.…": [alpha, element type]}`. */
const alphasKey = "dualora_folded_alphas";

/** Endings of tensors' names by role; the first is written, the others are what older versions of diffusers wrote. */
const endings: Readonly<Record<LoraLayout, Readonly<Record<Role, readonly string[]>>>> = {
  kohya: { down: [".lora_down.weight"], up: [".lora_up.weight"], alpha: [".alpha"] },
  diffusers: {
    down: [".lora_A.weight", ".lora.down.weight", ".lora_linear_layer.down.weight"],
    up: [".lora_B.weight", ".lora.up.weight", ".lora_linear_layer.up.weight"],
    alpha: [".alpha"],
  },
};
const roles = ["down", "up", "alpha"] as const;

/** A module's tensors, under its name in the layout that is written. */
type Module = { readonly name: string } & Partial<Record<Role, TensorData>>;

/**
 * Writes a LoRA file anew with the names of the other layout. Tensors keep their types, and their bytes but where alpha is folded in.
 *
 * @throws {TensorFileError} If the file is no sound file of tensors.
 * @throws {TypeError} If a tensor's name is of neither layout, naming all such.
 * @throws {RangeError} If the output is the input, or the file is in the wanted layout already.
 */
export async function convertLora(input: string, output: string, options: ConvertOptions = {}): Promise<Conversion> {
  await checkOutput(output, [input]);
  await using file = await openTensorFile(input);
  const names = [...file.tensors.keys()], isKohya = names.some((name) => name.startsWith("lora_"));
  const from: LoraLayout = isKohya ? "kohya" : "diffusers", other: LoraLayout = isKohya ? "diffusers" : "kohya";
  const { to = other, alpha = "fold" } = options;
  if (to === from) throw new RangeError(`Cannot convert ${input}: it is in ${from}'s layout already`);
  const modules = await readModules(file, from), metadata = new Map(file.metadata ?? []), rounded: string[] = [];
  const folded = readAlphas(metadata.get(alphasKey), input), noted: Record<string, [number, string]> = {};
  metadata.delete(alphasKey);
  const tensors = modules.flatMap((module) => {
    const { name, down, up } = module;
    if (!down || !up) throw new TypeError(`Cannot convert ${input}: ${name} lacks its ${down ? "up" : "down"} weight`);
    const rank = down.shape[0];
    let { alpha: alphaTensor } = module, scaled = up;
    if (to === "diffusers" && alpha === "fold" && alphaTensor) {
      // As in every reader of kohya's files, 0 stands for none.
      const value = readNumber(alphaTensor) || rank;
      noted[name] = [value, alphaTensor.type];
      scaled = multiplied(up, value, rank);
      if (!sameBytes(multiplied(scaled, rank, value).bytes, up.bytes)) rounded.push(name);
      alphaTensor = undefined;
    } else if (to === "kohya" && folded.has(diffusersPath(name)!)) {
      const [value, type] = folded.get(diffusersPath(name)!)!;
      scaled = multiplied(up, rank, value);
      alphaTensor = numberTensor(value, type);
    }
    const named = (role: Role, tensor: TensorData) => ({ ...tensor, name: name + endings[to][role][0] });
    return [named("down", down), named("up", scaled), ...(alphaTensor ? [named("alpha", alphaTensor)] : [])];
  });
  for (const { name, type, bytes } of tensors) {
    if (/^B?F/.test(type) && !decodeFloat32(bytes, type).every(Number.isFinite)) {
      throw new RangeError(`Cannot convert ${input}: ${name} holds NaN or infinite numbers`);
    }
  }
  if (Object.keys(noted).length) metadata.set(alphasKey, JSON.stringify(noted));
  if (isTorchFile(output)) await writeTorchCheckpoint(output, tensors);
  else if (to === "kohya") await writeFileAtomically(output, serializeLoraTensors(tensors, metadata));
  else {
    // The hashes are of kohya's layout.
    const kept = [...metadata].filter(([key]) => !key.startsWith("sshs_"));
    await writeSafetensors(output, tensors, { metadata: new Map(kept) });
  }
  return { from, to, modules: modules.length, rounded };
}

/** All modules of a file, under their names in the other layout. */
async function readModules(file: TensorFile, from: LoraLayout): Promise<Module[]> {
  const modules = new Map<string, Module>(), unknown: string[] = [];
  for (const key of file.tensors.keys()) {
    const found = placeOf(key, from);
    if (found === null) {
      unknown.push(key);
      continue;
    }
    const { name, role } = found, module = modules.get(name) ?? { name };
    if (module[role]) {
      throw new TypeError(`Cannot convert ${file.path}: ${key} and another tensor are both ${name}'s ${role}`);
    }
    const { type, shape } = file.entry(key);
    modules.set(name, { ...module, [role]: { name: key, type, shape, bytes: await file.bytes(key) } });
  }
  if (unknown.length === 0) return [...modules.values()];
  throw new TypeError(
    `Cannot convert ${file.path}: ${unknown.length} of its ${file.tensors.size} tensors are none of a LoRA file of Stable Diffusion v1 ` +
      `in ${from}'s layout: ${unknown.join(", ")}; expected names such as ${
        from === "kohya"
          ? "lora_unet_mid_block_attentions_0_proj_in.lora_down.weight"
          : "unet.mid_block.attentions.0.proj_in.lora_A.weight"
      }`,
  );
}

function placeOf(key: string, from: LoraLayout): { name: string; role: Role } | null {
  for (const role of roles) {
    const end = endings[from][role].find((end) => key.endsWith(end));
    if (end === undefined) continue;
    const stem = key.slice(0, -end.length), name = from === "kohya" ? diffusersPath(stem) : kohyaName(stem);
    return name === null ? null : { name, role };
  }
  return null;
}

/** The alphas that folding noted, by diffusers' names. */
function readAlphas(text: string | undefined, file: string): Map<string, [number, "F32" | "F16" | "BF16" | "I64"]> {
  if (text === undefined) return new Map();
  const fail = (cause?: unknown) =>
    new TypeError(`Cannot convert ${file}: its metadata ${alphasKey} is not {"name": [alpha, element type]}`, {
      cause,
    });
  let found: unknown;
  try {
    found = JSON.parse(text);
  } catch (error) {
    throw fail(error);
  }
  const isAlpha = (value: unknown) =>
    Array.isArray(value) && value.length === 2 && Number.isFinite(value[0]) && value[0] !== 0 &&
    ["F32", "F16", "BF16", "I64"].includes(value[1]);
  if (typeof found !== "object" || found === null || !Object.values(found).every(isAlpha)) throw fail();
  return new Map(Object.entries(found));
}

/** A tensor times a fraction, in its own type. */
function multiplied(tensor: TensorData, numerator: number, denominator: number): TensorData {
  const { type } = tensor;
  if (type !== "F32" && type !== "F16" && type !== "BF16") {
    throw new TypeError(
      `Cannot convert tensor ${tensor.name}: it is of ${type}, expected F32, F16 or BF16; use --alpha keep`,
    );
  }
  if (numerator === denominator) return tensor;
  const values = decodeFloat32(tensor.bytes, type).map((value) => value * numerator / denominator);
  return { ...tensor, bytes: encodeFloat32(values, type) };
}

function readNumber({ name, type, bytes }: TensorData): number {
  const values = /^B?F/.test(type) ? decodeFloat32(bytes, type) : decodeInt32(bytes, type);
  if (values.length !== 1) {
    throw new TypeError(`Cannot convert tensor ${name}: it has ${values.length} numbers, expected one`);
  }
  return values[0];
}

function numberTensor(value: number, type: "F32" | "F16" | "BF16" | "I64"): TensorData {
  const bytes = type === "I64"
    ? new Uint8Array(BigInt64Array.of(BigInt(value)).buffer)
    : encodeFloat32(Float32Array.of(value), type);
  return { name: "alpha", type: type satisfies ElementType, shape: [], bytes };
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}
