import { join } from "node:path";
import {
  cast,
  type Device,
  type FloatFormat,
  type HostArray,
  isHalf,
  plan,
  type Program,
  type Tensor,
} from "../../engine/mod.ts";
import { weightByRule } from "../../formats/weights_by_rule.ts";
import { LoraNetwork, type LoraOptions } from "../../lora/network.ts";
import { BaseModel } from "../../models/base_model.ts";
import type { PartName } from "../../models/checkpoint/ldm_keys.ts";
import { localFolder } from "../../models/checkpoint/model_folder.ts";
import { folderPart } from "../../models/checkpoint/part_files.ts";
import { fillWeights, fillWeightsByRule, loadWeights } from "../../models/load.ts";
import type { Weights } from "../../models/weights.ts";
import { nearestName } from "../../steps/values/nearest_name.ts";
import { choiceOption, countOption, option, positiveOption, type ProbeOptions } from "./options.ts";
import { isSmall } from "./gradients.ts";
import { hasAny, type TensorSet } from "./tensors.ts";

/** What every part of the probe is asked with. */
export interface ProbeRequest {
  readonly device: Device;
  /** A Diffusers folder; with weights by rule only its config.json files count. */
  readonly folder: string;
  /** Salt of the weights by rule; null: the folder's own weights. */
  readonly salt: number | null;
  /** What frozen weights are stored in. */
  readonly precision: FloatFormat;
  /** What a golden's JSON calls settings. */
  readonly options: ProbeOptions;
  readonly input: TensorSet;
}

/** Options that choose a network's modules and their weights by rule. */
export const networkOptions = [
  "rank",
  "alpha",
  "conv_dim",
  "conv_alpha",
  "up_scale",
  "network_dim",
  "network_alpha",
] as const;

/** The option `activations`: what activations are stored in, whatever the weights are; f32 when left out. */
export function activationsOption({ options }: Pick<ProbeRequest, "options">): FloatFormat {
  return choiceOption(options, "activations", ["f32", "f16", "bf16"]);
}

/** Fills a part's weights by rule, or from its folder. */
export async function openWeights(request: ProbeRequest, weights: Weights, saltOffset = 0): Promise<void> {
  const { device, folder, salt } = request;
  if (salt === null) {
    const part = weights.name as PartName, config = { file: join(folder, part, "config.json"), json: null };
    await loadWeights(device, weights, folderPart(part, await localFolder(folder), `${part}/`, config));
  } else await fillWeightsByRule(device, weights, { salt: salt + saltOffset });
}

/** Whether the goldens' run with quiet weights is wanted: of a small model by rule, or where the input names its results. */
export function wantsQuietRun({ input, salt }: ProbeRequest, weights: Weights): boolean {
  return hasAny(input, "quiet.") || (salt !== null && isSmall(weights));
}

/** Weights by rule times 2^-8, but for norms and transformer blocks: norms then see variances near their epsilon. */
export async function quietWeights(request: ProbeRequest, weights: Weights): Promise<void> {
  const { device, salt } = request;
  await fillWeights(device, weights, ({ key, shape }) => {
    const values = weightByRule(`${weights.name}.${key}`, shape, salt ?? 0);
    return key.includes("norm") || key.includes("transformer_blocks") ? values : values.map((value) => value / 256);
  });
}

/** Frees a part's weights. */
export function freeWeights(device: Device, ...parts: readonly Weights[]): void {
  device.free(parts.flatMap((weights) => weights.all.map(({ variable }) => variable)));
}

/** Opens a base model and puts its weights on the device. */
export async function openBase(request: ProbeRequest, saltOffset = 0): Promise<BaseModel> {
  const base = await BaseModel.open(request.folder, {
    precision: request.precision,
    clipSkip: countOption(request.options, "clip_skip", 1),
  });
  await openWeights(request, base.textWeights, saltOffset);
  await openWeights(request, base.unetWeights, saltOffset);
  return base;
}

/** The rank options, also under sd-scripts' names; defaults are those of the tiny goldens. */
export function loraOptions({ options }: Pick<ProbeRequest, "options">): LoraOptions {
  const rank = countOption(options, "rank", countOption(options, "network_dim", 4));
  const convRank = positiveOption(options, "conv_dim", 0);
  return {
    rank,
    alpha: option(options, "alpha", option(options, "network_alpha", rank === 4 ? 2 : rank)),
    ...(convRank ? { convRank, convAlpha: option(options, "conv_alpha", 1) } : {}),
  };
}

/**
 * A network with the input's weights (`network_<number>.<tensor>`) and, where it has none, with weights by rule: names `lora<number>.<tensor>`; up weights
 * times 0.1 for a UNet of SD v1.5's width, 0.7 for a smaller one.
 *
 * @throws {TypeError} If the input has a weight of that network that it has no place for.
 */
export function openNetwork(
  request: ProbeRequest,
  base: BaseModel,
  number: 1 | 2,
  lora = loraOptions(request),
): LoraNetwork {
  const { device, input, options, salt } = request;
  const layers = { text_encoder: base.textLayers, unet: base.unetLayers };
  const network = new LoraNetwork(`network ${number}`, layers, lora);
  const prefix = `network_${number}.`, known = network.tensors.map(({ name }) => prefix + name);
  for (const name of input.keys()) {
    if (!name.startsWith(prefix) || known.includes(name)) continue;
    throw new TypeError(
      `Cannot probe: the network has no place for the input's ${name}. Did you mean ${nearestName(name, known)}?`,
    );
  }
  const upFactor = Math.fround(option(options, "up_scale", base.unetConfig.levels[0].size >= 320 ? 0.1 : 0.7));
  const values = (name: string, shape: readonly number[], factor: number) =>
    input.get(prefix + name)?.data as Float32Array | undefined ??
      weightByRule(`lora${number}.${name}`, shape, salt ?? 0).map((value) => Math.fround(value * factor));
  const flat = network.flatten(({ down, up }) => ({
    down: values(down.name, down.shape, 1),
    up: values(up.name, up.shape, upFactor),
  }));
  device.upload(network.weights, flat);
  return network;
}

/**
 * Checks token ids before they are fed: a kernel cannot refuse one.
 *
 * @throws {RangeError} If one is outside of the vocabulary.
 */
export function checkIds(name: string, ids: ArrayLike<number>, vocabularySize: number): void {
  const wrong = Array.from(ids).find((id) => id < 0 || id >= vocabularySize);
  if (wrong === undefined) return;
  throw new RangeError(
    `Cannot probe: ${name} has ${wrong}, must be from 0 to below ${vocabularySize}, the vocabulary's size`,
  );
}

/** Runs a graph once, and reads its outputs, those of 16 bits widened. */
export async function evaluate(
  device: Device,
  outputs: Readonly<Record<string, Tensor>>,
  feeds: Readonly<Record<string, ArrayLike<number>>>,
): Promise<Record<string, HostArray>> {
  const wide = Object.entries(outputs).map(([name, tensor]) =>
    [name, isHalf(tensor.dtype) ? cast(tensor, { dtype: "f32" }) : tensor] as const
  );
  const compiled = await device.compile(plan({ outputs: Object.fromEntries(wide) }));
  try {
    compiled.run(neededFeeds(compiled.program, feeds));
    return await compiled.read(...Object.keys(outputs));
  } finally {
    device.release(compiled);
  }
}

/** The feeds that a program asks for: what none of its outputs depends on is no input of it. */
export function neededFeeds(
  program: Program,
  feeds: Readonly<Record<string, ArrayLike<number>>>,
): Record<string, ArrayLike<number>> {
  return Object.fromEntries([...program.inputs.keys()].map((name) => [name, feeds[name]]));
}
