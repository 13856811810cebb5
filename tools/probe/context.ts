import type { Device } from "../../engine/mod.ts";
import { weightByRule } from "../../formats/weights_by_rule.ts";
import { LoraNetwork, type LoraOptions } from "../../lora/network.ts";
import { BaseModel } from "../../models/base_model.ts";
import type { TensorSet } from "./tensors.ts";

/** What every part of the probe is asked with. */
export interface ProbeRequest {
  readonly device: Device;
  /** A Diffusers folder; with weights by rule only its config.json files count. */
  readonly folder: string;
  /** Salt of the weights by rule; null: the folder's own weights. */
  readonly salt: number | null;
  readonly precision: "f32" | "f16";
  /** What a golden's JSON calls settings. */
  readonly options: Readonly<Record<string, unknown>>;
  readonly input: TensorSet;
}

/** An option of a kind; the fallback when it is left out. */
export function option<T extends number | boolean | string>(request: ProbeRequest, name: string, fallback: T): T {
  const value = request.options[name];
  if (value === undefined || value === null) return fallback;
  if (typeof value !== typeof fallback) {
    throw new TypeError(`Cannot probe: option ${name} is ${JSON.stringify(value)}, wanted a ${typeof fallback}`);
  }
  return value as T;
}

/** A list of numbers; the fallback when it is left out. */
export function numbersOption(request: ProbeRequest, name: string, fallback: readonly number[]): readonly number[] {
  const value = request.options[name];
  if (value === undefined || value === null) return fallback;
  if (!Array.isArray(value) || !value.every((each) => typeof each === "number")) {
    throw new TypeError(`Cannot probe: option ${name} is ${JSON.stringify(value)}, wanted a list of numbers`);
  }
  return value;
}

/** Opens a base model and puts its weights on the device. */
export async function openBase(request: ProbeRequest, saltOffset = 0): Promise<BaseModel> {
  const base = await BaseModel.open(request.folder, {
    precision: request.precision,
    clipSkip: option(request, "clip_skip", 1),
  });
  if (request.salt === null) await base.load(request.device);
  else await base.loadByRule(request.device, request.salt + saltOffset);
  return base;
}

/** The rank options under the names of sd-scripts; defaults are those of the tiny goldens. */
export function loraOptions(request: ProbeRequest): LoraOptions {
  const rank = option(request, "rank", option(request, "network_dim", 4));
  const convRank = option(request, "conv_dim", 0);
  return {
    rank,
    alpha: option(request, "alpha", option(request, "network_alpha", rank === 4 ? 2 : rank)),
    ...(convRank ? { convRank, convAlpha: option(request, "conv_alpha", 1) } : {}),
  };
}

/**
 * A network with the input's weights (`network_<number>.<tensor>`) or, where it has none, with weights by rule: names `lora<number>.<tensor>`; up weights
 * times 0.1 for a UNet of SD v1.5's width, 0.7 for a smaller one.
 */
export function openNetwork(
  request: ProbeRequest,
  base: BaseModel,
  number: 1 | 2,
  options = loraOptions(request),
): LoraNetwork {
  const network = new LoraNetwork(
    `network ${number}`,
    { text_encoder: base.textLayers, unet: base.unetLayers },
    options,
  );
  const upFactor = Math.fround(option(request, "up_scale", base.unetConfig.levels[0].size >= 320 ? 0.1 : 0.7));
  const values = (name: string, shape: readonly number[], factor: number) =>
    request.input.get(`network_${number}.${name}`)?.data as Float32Array | undefined ??
      weightByRule(`lora${number}.${name}`, shape, request.salt ?? 0).map((value) => Math.fround(value * factor));
  const flat = network.flatten(({ down, up }) => ({
    down: values(down.name, down.shape, 1),
    up: values(up.name, up.shape, upFactor),
  }));
  request.device.upload(network.weights, flat);
  return network;
}
