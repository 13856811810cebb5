import { join } from "node:path";
import { makeFolder } from "../formats/write_errors.ts";
import { defineStep } from "../pipeline/mod.ts";
import {
  checkLoraFileOptions,
  loraFileOptionNames,
  type LoraFileOptions,
  writeNetworkFile,
} from "./outputs/lora_files.ts";
import { existingBytes, loraFileBytes } from "./outputs/disk_use.ts";
import type { NetworkThings } from "./sample.ts";
import { bases } from "./things.ts";
import type { LoadedBases, OpenedBases } from "./values/bases.ts";
import { checkOptions, type OptionNames } from "./values/check_options.ts";
import { buildNetwork, type Network, type PlannedNetwork } from "./values/network.ts";
import { checkFileName, isPath } from "./values/file_name.ts";

/** Options of `saveNetworks`. */
export interface SaveNetworksOptions<Networks extends NetworkThings> extends LoraFileOptions {
  /** Made if it is not there (`--output_dir`). */
  readonly folder: string;
  /** `{ network1: things.network1 }` writes `network1.safetensors`. */
  readonly networks: Networks;
  /** Other names for files, by network, without the ending (`--output_name`, `--output_name_2`). */
  readonly names?: { readonly [Name in keyof Networks]?: string };
}

const optionNames: OptionNames<SaveNetworksOptions<NetworkThings>> = {
  ...loraFileOptionNames,
  folder: true,
  networks: true,
  names: true,
};

/** Writes networks as LoRA files in kohya's format, which A1111, ComfyUI and diffusers load. */
export function saveNetworks<const Networks extends NetworkThings>(options: SaveNetworksOptions<Networks>) {
  const stepName = "save networks";
  checkOptions<SaveNetworksOptions<NetworkThings>>(stepName, options, optionNames);
  const { networks, folder, names = {}, ...written } = options, { format = "safetensors" } = written;
  checkLoraFileOptions(written);
  checkOptions(stepName, names, Object.fromEntries(Object.keys(networks).map((key) => [key, true as const])), "names");
  const files = Object.keys(networks).map((key) => [key, (names as Record<string, string>)[key] ?? key] as const);
  if (!isPath(folder)) {
    throw new TypeError(`Cannot save networks: folder is ${JSON.stringify(folder)}, must be a path`);
  }
  for (const [, name] of files) checkFileName(name);
  const taken = new Map<string, string>();
  for (const [key, name] of files) {
    // File systems may take names that differ in case alone for one.
    const other = taken.get(name.toLowerCase());
    if (other !== undefined) {
      throw new TypeError(`Cannot save networks: ${other} and ${key} would both be written to ${name}.${format}`);
    }
    taken.set(name.toLowerCase(), key);
  }
  const path = (name: string) => join(folder, `${name}.${format}`);
  const needs = { bases, ...networks };
  return defineStep({
    name: stepName,
    version: 2,
    options: { folder, files, ...written },
    needs,
    claims: files.map(([, name]) => join(folder, name)),
    plan: async (planned) => {
      const lines = files.map(([, name]) => path(name));
      const named = planned as unknown as Readonly<Record<string, PlannedNetwork>> & { readonly bases: OpenedBases };
      const sizes = files.map(([key]) =>
        loraFileBytes(buildNetwork(key, named.bases[baseOf(key)], named[key].options), written)
      );
      const sizeBytes = Math.max(
        0,
        sizes.reduce((sum, size) => sum + size, 0) - await existingBytes(folder, (path) => lines.includes(path)),
      );
      return {
        lines,
        disk: [{ what: "LoRA files at the end", folder, sizeBytes, less: "--save_precision, --network_dim" }],
      };
    },
    run: async (values, run) => {
      const named = values as unknown as Readonly<Record<string, Network>> & { readonly bases: LoadedBases };
      await makeFolder(folder);
      const finishedAt = Date.now() / 1000;
      // A run that goes on later counts the time of its steps alone.
      const startedAt = finishedAt - run.earlier.reduce((sum, { seconds }) => sum + seconds, 0);
      for (const [key, name] of files) {
        await writeNetworkFile(path(name), named.bases[baseOf(key)], named[key], written, { startedAt, finishedAt });
        run.artifact(path(name));
      }
    },
  });
}

/** Whose base a network belongs to, by the thing's name. */
function baseOf(key: string): "network1" | "network2" {
  return key.startsWith("network2") ? "network2" : "network1";
}
