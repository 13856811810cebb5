import { basename } from "node:path";
import { minimumMetadata, networkValues, savedMetadata } from "../../formats/kohya_metadata.ts";
import { type LoraFileModule, type SavePrecision, writeLora, writeTorchLora } from "../../formats/lora_file.ts";
import { pythonStr } from "../../formats/python_text.ts";
import type { BaseModel } from "../../models/base_model.ts";
import type { OptionNames } from "../values/check_options.ts";
import { buildNetwork, type Network } from "../values/network.ts";
import { networkFacts } from "./network_facts.ts";

/** Kinds of LoRA files, by the endings of their names. */
export type LoraFormat = "safetensors" | "pt" | "ckpt";

/** How LoRA files are written. */
export interface LoraFileOptions {
  /** Numbers in the file; `float` (f32) when left out (`--save_precision`). */
  readonly precision?: SavePrecision;
  /** `safetensors` when left out; the others are PyTorch's, and have no metadata (`--save_model_as`). */
  readonly format?: LoraFormat;
  /** A sentence for the metadata (`--training_comment`). */
  readonly comment?: string;
  /** False leaves out all metadata but what kind of network it is; true when left out (`--no_metadata`). */
  readonly metadata?: boolean;
}

/** Names of all `LoraFileOptions`. */
export const loraFileOptionNames: OptionNames<LoraFileOptions> = {
  precision: true,
  format: true,
  comment: true,
  metadata: true,
};

/**
 * Checks values before anything runs.
 *
 * @param prefix What stands before an option's name in messages, such as `save.`.
 * @throws {RangeError} If a precision or format does not exist.
 * @throws {TypeError} If a comment is no text, or metadata neither true nor false.
 */
export function checkLoraFileOptions(options: LoraFileOptions, prefix = ""): void {
  const { precision = "float", format = "safetensors", comment = "", metadata = true } = options;
  const refuse = (name: string, value: unknown, wanted: string) => {
    throw new RangeError(`Cannot save networks: ${prefix}${name} is ${JSON.stringify(value)}, must be ${wanted}`);
  };
  if (!["float", "fp16", "bf16"].includes(precision)) refuse("precision", precision, "float, fp16 or bf16");
  if (!["safetensors", "pt", "ckpt"].includes(format)) refuse("format", format, "safetensors, pt or ckpt");
  if (typeof comment !== "string") refuse("comment", comment, "a text");
  if (typeof metadata !== "boolean") refuse("metadata", metadata, "true or false");
}

/** When a network was trained, for its file's metadata. */
export interface TrainingTime {
  /** Seconds since 1970. */
  readonly startedAt: number;
  readonly finishedAt: number;
}

/**
 * Writes a network as a LoRA file in kohya's format, which A1111, ComfyUI and diffusers load.
 *
 * @param path Where; its folder must exist. The ending says the format.
 * @throws {Error} If a weight is not finite.
 */
export async function writeNetworkFile(
  path: string,
  base: BaseModel,
  network: Network,
  { precision = "float", format = "safetensors", comment, metadata = true }: LoraFileOptions,
  time: TrainingTime,
): Promise<void> {
  const modules = networkModules(base, network);
  if (format !== "safetensors") return await writeTorchLora(path, modules, { precision });
  const facts = network.metadata ? new Map(Object.entries(network.metadata)) : builtMetadata(network);
  const { log } = network;
  const whole = savedMetadata(facts, {
    outputName: basename(path, ".safetensors"),
    comment: comment ?? null,
    steps: log.length,
    epoch: (log.at(-1)?.epoch ?? -1) + 1,
    ...time,
  });
  await writeLora(path, modules, { precision, metadata: metadata ? whole : minimumMetadata(whole) });
}

/** What is known of a network that was not trained here: how it is built. */
function builtMetadata({ options }: Network): Map<string, string> {
  return new Map(Object.entries(networkValues(networkFacts(options))).map(([key, value]) => [key, pythonStr(value)]));
}

/**
 * A network's modules as its LoRA file has them.
 *
 * @throws {Error} If a weight is not finite.
 */
export function networkModules(base: BaseModel, { options, weights }: Network): LoraFileModule[] {
  if (!weights.every(Number.isFinite)) throw new Error("Cannot save a network: it has NaN or infinite weights");
  const lora = buildNetwork("saved network", base, options);
  return [...lora.unflatten(weights)].map(([{ name, alpha, down, up }, values]) => ({
    name,
    alpha,
    down: { shape: down.shape, values: Float32Array.from(values.down) },
    up: { shape: up.shape, values: Float32Array.from(values.up) },
  }));
}
