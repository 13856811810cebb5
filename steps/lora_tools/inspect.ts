import { loraFrom } from "../../formats/lora_file.ts";
import { type CheckedHash, checkLoraHashes } from "../../formats/lora_hashes.ts";
import { openTensorFile } from "../../formats/open_tensor_file.ts";
import { SafetensorsFile } from "../../formats/safetensors.ts";
import { blockName, deltaNorm, groupNorms, type GroupStrength, partName } from "../../lora/strength.ts";
import { blockOrder } from "./block_order.ts";

/** One module of an inspected file. */
export interface InspectedModule {
  readonly name: string;
  readonly block: string;
  readonly kind: "linear" | "conv 1x1" | "conv 3x3" | "conv";
  readonly rank: number;
  readonly alpha: number;
  /** Frobenius norm of what it adds to its layer's weight. */
  readonly norm: number;
}

/** Modules of one kind that agree in rank and alpha. */
export interface ModuleSizes {
  readonly part: string;
  readonly kind: InspectedModule["kind"];
  readonly rank: number;
  readonly alpha: number;
  readonly modules: number;
}

/** What there is to know of a LoRA file. */
export interface Inspection {
  readonly file: string;
  readonly format: string;
  readonly metadata: Readonly<Record<string, string>>;
  /** Empty for PyTorch's files, which have no metadata. */
  readonly hashes: readonly CheckedHash[];
  readonly sizes: readonly ModuleSizes[];
  readonly parts: readonly GroupStrength[];
  readonly blocks: readonly GroupStrength[];
  readonly modules: readonly InspectedModule[];
}

/**
 * Reads a LoRA file of kohya's format and measures it.
 *
 * @throws {TensorFileError} If the file is no sound file of tensors.
 * @throws {TypeError} If it holds other tensors than a LoRA file's.
 */
export async function inspectLora(path: string): Promise<Inspection> {
  await using file = await openTensorFile(path);
  const { modules, metadata } = await loraFrom(file);
  const inspected = modules.map((module): InspectedModule => ({
    name: module.name,
    block: blockName(module.name),
    kind: kindOf(module.down.shape),
    rank: module.down.shape[0],
    alpha: module.alpha,
    norm: deltaNorm(module),
  }));
  const norms = new Map(inspected.map(({ name, norm }) => [name, norm]));
  const sizes = Map.groupBy(
    inspected,
    ({ name, kind, rank, alpha }) => JSON.stringify([partName(name), kind, rank, alpha]),
  );
  return {
    file: path,
    format: file.format,
    metadata: Object.fromEntries(metadata),
    hashes: file instanceof SafetensorsFile ? await checkLoraHashes(file) : [],
    sizes: [...sizes.values()].map((same) => {
      const [{ name, kind, rank, alpha }] = same;
      return { part: partName(name), kind, rank, alpha, modules: same.length };
    }),
    parts: groupNorms(norms, partName),
    blocks: groupNorms(norms, blockName).toSorted((a, b) => blockOrder(a.name) - blockOrder(b.name)),
    modules: inspected,
  };
}

/** What is known of a file, for people. */
export function inspectionText({ file, format, metadata, hashes, sizes, parts, blocks, modules }: Inspection): string {
  const entries = Object.entries(metadata).filter(([key]) => !key.startsWith("sshs_"));
  const group = ({ name, modules, norm }: GroupStrength) =>
    `  ${name.padEnd(16)} ${String(modules).padStart(4)} modules  norm ${norm.toPrecision(6)}`;
  return [
    `${file}: ${modules.length} LoRA modules, ${format}`,
    "",
    `Metadata: ${entries.length || "none"}`,
    ...entries.map(([key, value]) => `  ${key}: ${value}`),
    ...hashes.map(({ key, found, computed }) => `  ${key}: ${hashText(found, computed)}`),
    "",
    "Rank and alpha",
    ...sizes.map(({ part, kind, rank, alpha, modules }) =>
      `  ${part.padEnd(16)} ${String(modules).padStart(4)} ${kind}: rank ${rank}, alpha ${alpha}`
    ),
    "",
    "Strength of parts (Frobenius norm of the change of weights)",
    ...parts.map(group),
    "",
    "Blocks",
    ...blocks.map(group),
    "",
    "Modules",
    ...modules.map(({ name, rank, norm }) => `  ${norm.toPrecision(6).padStart(12)}  rank ${rank}  ${name}`),
  ].join("\n");
}

function hashText(found: string | null, computed: string): string {
  if (found === null) return `not there; the bytes give ${computed}`;
  return found === computed ? `${found}, as the bytes give` : `${found}, but the bytes give ${computed}`;
}

function kindOf(down: readonly number[]): InspectedModule["kind"] {
  if (down.length === 2) return "linear";
  const kernel = `${down[2]}x${down[3]}`;
  return kernel === "1x1" ? "conv 1x1" : kernel === "3x3" ? "conv 3x3" : "conv";
}
