import { mkdir } from "node:fs/promises";
import { basename, join } from "node:path";
import { type LoraFileModule, type SavePrecision, writeLora } from "../formats/lora_file.ts";
import { pythonStr } from "../formats/python_text.ts";
import { defineStep } from "../pipeline/mod.ts";
import type { NetworkThings } from "./sample.ts";
import { bases } from "./things.ts";
import { checkOptions } from "./values/check_options.ts";
import type { LoadedBases } from "./values/bases.ts";
import { buildNetwork, type Network } from "./values/network.ts";

/** Options of `saveNetworks`. */
export interface SaveNetworksOptions<Networks extends NetworkThings> {
  readonly folder: string;
  /** `{ network1: things.network1 }` writes `network1.safetensors`. */
  readonly networks: Networks;
  /** Other names for files, by network, without the ending. */
  readonly names?: { readonly [Name in keyof Networks]?: string };
  /** `float` (f32) when left out (`--save_precision`). */
  readonly precision?: SavePrecision;
}

/** Writes networks as LoRA files in kohya's format, which A1111, ComfyUI and diffusers load. */
export function saveNetworks<const Networks extends NetworkThings>(options: SaveNetworksOptions<Networks>) {
  const stepName = "save networks", known = { folder: true, networks: true, names: true, precision: true } as const;
  checkOptions<SaveNetworksOptions<Networks>>(stepName, options, known);
  const { networks, folder, precision = "float", names = {} } = options;
  if (!["float", "fp16", "bf16"].includes(precision)) {
    throw new RangeError(
      `Cannot save networks: precision is ${JSON.stringify(precision)}, must be float, fp16 or bf16`,
    );
  }
  checkOptions(stepName, names, Object.fromEntries(Object.keys(networks).map((key) => [key, true as const])), "names");
  const files = Object.keys(networks).map((key) => [key, (names as Record<string, string>)[key] ?? key] as const);
  for (const [, name] of files) {
    if (name !== basename(name) || !/^[\w.-]+$/.test(name)) {
      throw new TypeError(
        `Cannot save networks: ${JSON.stringify(name)} is no file name; use letters, digits, _, - and .`,
      );
    }
  }
  const taken = new Map<string, string>();
  for (const [key, name] of files) {
    // File systems may take names that differ in case alone for one.
    const other = taken.get(name.toLowerCase());
    if (other !== undefined) {
      throw new TypeError(`Cannot save networks: ${other} and ${key} would both be written to ${name}.safetensors`);
    }
    taken.set(name.toLowerCase(), key);
  }
  const needs = { bases, ...networks };
  return defineStep({
    name: stepName,
    version: 1,
    options: { folder, precision, files },
    needs,
    plan: () => ({ lines: files.map(([, name]) => join(folder, `${name}.safetensors`)) }),
    run: async (values, run) => {
      const named = values as unknown as Readonly<Record<string, Network>> & { readonly bases: LoadedBases };
      await mkdir(folder, { recursive: true });
      for (const [key, name] of files) {
        const path = join(folder, `${name}.safetensors`);
        await writeLora(path, fileModules(named.bases, named[key]), {
          precision,
          metadata: metadataOf(name, named[key]),
        });
        run.artifact(path);
      }
    },
  });
}

function fileModules({ network1: base }: LoadedBases, { options, weights }: Network): LoraFileModule[] {
  if (!weights.every(Number.isFinite)) throw new Error("Cannot save a network: it has NaN or infinite weights");
  const lora = buildNetwork("saved network", base, options);
  return [...lora.unflatten(weights)].map(([{ name, alpha, down, up }, values]) => ({
    name,
    alpha,
    down: { shape: down.shape, values: Float32Array.from(values.down) },
    up: { shape: up.shape, values: Float32Array.from(values.up) },
  }));
}

/** The metadata that readers look at, under sd-scripts' names and in Python's spelling. */
function metadataOf(name: string, { options, settings, log }: Network): Map<string, string> {
  const { rank, alpha = rank, convRank, convAlpha = 1 } = options;
  const known: Record<string, unknown> = {
    ss_output_name: name,
    ss_network_module: "networks.lora",
    ss_network_dim: rank,
    ss_network_alpha: alpha,
    ss_base_model_version: "sd_v1",
    ss_v2: false,
    ss_learning_rate: settings.learningRate ?? 1e-4,
    ss_lr_scheduler: settings.schedule ?? "constant",
    ss_optimizer: settings.optimizer ?? "AdamW",
    ss_max_grad_norm: settings.maxGradNorm ?? 1,
    ss_gradient_accumulation_steps: settings.accumulationSteps ?? 1,
    ss_seed: settings.seed,
    ss_steps: log.length,
    ss_epoch: (log.at(-1)?.epoch ?? -1) + 1,
    ss_training_comment: "trained by dualora",
  };
  if (convRank !== undefined) {
    known.ss_network_args = JSON.stringify({ conv_dim: `${convRank}`, conv_alpha: `${convAlpha}` });
  }
  return new Map(
    Object.entries(known).filter(([, value]) => value !== undefined).map(([key, value]) => [
      key,
      typeof value === "string" ? value : pythonStr(value as Parameters<typeof pythonStr>[0]),
    ]),
  );
}
