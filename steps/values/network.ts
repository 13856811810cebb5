import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { makeFolder } from "../../formats/write_errors.ts";
import { writeFileAtomically } from "../../formats/atomic_file.ts";
import { SafetensorsFile, writeSafetensors } from "../../formats/safetensors.ts";
import type { BlockOptions } from "../../lora/blocks.ts";
import { checkLoraOptions } from "../../lora/module_plan.ts";
import { LoraNetwork, type LoraOptions, type Part } from "../../lora/network.ts";
import type { BaseModel } from "../../models/base_model.ts";
import type { Store } from "../../pipeline/mod.ts";
import type { StepFigures } from "../../training/trainer.ts";
import { checkOptions, type OptionNames } from "./check_options.ts";

/** How a network is built: sd-scripts' flags are network_dim, network_alpha, and what network_args has. */
export interface NetworkOptions extends LoraOptions {
  /** Which parts get modules; both when left out. */
  readonly parts?: readonly Part[];
}

/** How a network is built, and what it starts from. */
export interface NetworkStartOptions extends NetworkOptions {
  /** A LoRA file to go on from; its alphas count, modules that it lacks start anew (`--network_weights`). */
  readonly weights?: string;
  /** Makes the modules of that file, with its ranks, and no others (`--dim_from_weights`). */
  readonly ranksFromWeights?: boolean;
}

/** Names of all `NetworkStartOptions`. */
export const networkOptionNames: OptionNames<NetworkStartOptions> = {
  rank: true,
  alpha: true,
  convRank: true,
  convAlpha: true,
  parts: true,
  blocks: true,
  modules: true,
  namedModulesOnly: true,
  orthonormalPlace: true,
  dropout: true,
  rankDropout: true,
  moduleDropout: true,
  weights: true,
  ranksFromWeights: true,
};

const blockOptionNames: OptionNames<BlockOptions> = {
  downWeights: true,
  midWeight: true,
  upWeights: true,
  zeroThreshold: true,
  ranks: true,
  alphas: true,
  convRanks: true,
  convAlphas: true,
};

/**
 * The part of a step's options that builds its network and says what it starts from.
 *
 * @param step The step's name, for messages.
 * @throws {TypeError} If `blocks` has an unknown option.
 * @throws {RangeError} If a value is out of range, or `parts` names none, or one that does not exist.
 */
export function networkOptions(step: string, options: NetworkStartOptions): NetworkStartOptions {
  const { parts, blocks, weights, ranksFromWeights } = options;
  if (parts !== undefined && !(parts.length && parts.every((part) => part === "text_encoder" || part === "unet"))) {
    throw new RangeError(
      `Cannot make a network: parts is ${JSON.stringify(parts)}, must be text_encoder, unet or both`,
    );
  }
  if (blocks !== undefined) checkOptions<BlockOptions>(step, blocks, blockOptionNames, "blocks");
  checkLoraOptions("a network", options);
  if (ranksFromWeights && weights === undefined) {
    throw new RangeError("Cannot make a network: ranksFromWeights is true, but weights names no LoRA file");
  }
  return Object.fromEntries(
    Object.entries(options).filter(([name, value]) => name in networkOptionNames && value !== undefined),
  ) as unknown as NetworkStartOptions;
}

/** A trained network, off the device. */
export interface Network {
  readonly options: NetworkOptions;
  /** Flat, laid out as `LoraNetwork.weights`. */
  readonly weights: Float32Array;
  /** Figures of every step it was trained with. */
  readonly log: readonly StepFigures[];
  /** Settings of the training, for the file's metadata and for reports. */
  readonly settings: Readonly<Record<string, unknown>>;
  /** What LoRA files say of its training, as `kohyaMetadata` gives it; absent for a network that was not trained here. */
  readonly metadata?: Readonly<Record<string, string>>;
}

/** What is known of a network before it is trained. */
export interface PlannedNetwork {
  readonly options: NetworkOptions;
}

/** The network's modules over a base model, without weights. */
export function buildNetwork(
  name: string,
  base: BaseModel,
  { parts = ["text_encoder", "unet"], ...options }: NetworkOptions,
): LoraNetwork {
  return new LoraNetwork(name, {
    text_encoder: parts.includes("text_encoder") ? base.textLayers : [],
    unet: parts.includes("unet") ? base.unetLayers : [],
  }, options);
}

/** Writes a network into a step's folder. */
export async function saveNetwork(network: Network, folder: string): Promise<void> {
  if (!network.weights.every(Number.isFinite)) {
    throw new RangeError("Cannot keep a network: it has NaN or infinite weights");
  }
  await makeFolder(folder);
  await writeSafetensors(join(folder, "weights.safetensors"), [{
    name: "weights",
    type: "F32",
    shape: [network.weights.length],
    bytes: new Uint8Array(network.weights.slice().buffer as ArrayBuffer),
  }]);
  const { weights: _, ...facts } = network;
  await writeFileAtomically(join(folder, "network.json"), [new TextEncoder().encode(JSON.stringify(facts))]);
}

/** Reads what `saveNetwork` wrote. */
async function loadNetwork(folder: string): Promise<Network> {
  await using file = await SafetensorsFile.open(join(folder, "weights.safetensors"));
  const facts: Omit<Network, "weights"> = JSON.parse(await readFile(join(folder, "network.json"), "utf8"));
  return { ...facts, weights: await file.float32("weights") };
}

/** A step's store for networks, each in a folder of its name. */
export function networkStore<const Name extends string>(
  ...names: readonly Name[]
): Store<{ readonly [Each in Name]: Network }> {
  return {
    save: async (networks, folder) => {
      for (const name of names) await saveNetwork(networks[name], join(folder, name));
    },
    load: async (folder) => {
      const loaded: Partial<Record<Name, Network>> = {};
      for (const name of names) loaded[name] = await loadNetwork(join(folder, name));
      return loaded as Record<Name, Network>;
    },
  };
}
