import { join } from "node:path";
import { adapterLimits, checkF16Arithmetic } from "../engine/mod.ts";
import { readLoraShapes } from "../formats/lora_file.ts";
import { defineStep, hashFile } from "../pipeline/mod.ts";
import type { HubOptions } from "../models/checkpoint/hub.ts";
import { bases } from "./things.ts";
import { checkOnAdapter } from "./values/check_adapter.ts";
import { checkOptions } from "./values/check_options.ts";
import { readNamedLora } from "./values/named_lora.ts";
import { type BaseNames, loadBasesOn, type MergedLora, openBases } from "./values/bases.ts";
import { type MixedPrecision, storageFormat } from "./values/mixed_precision.ts";
import { contentOf, downloadsOf } from "./values/checkpoint_content.ts";
import { withKeptHashes } from "./values/file_hashes.ts";
import { machineFacts } from "./values/machine_facts.ts";

/** Options of `loadBases`. */
export interface LoadBasesOptions extends BaseNames {
  /** What frozen weights are kept in on the device, and activations while networks are trained on them; `no`, f32, when left out (`--mixed_precision`). */
  readonly mixedPrecision?: MixedPrecision;
  /**
   * `int8` keeps the weights of linear layers and convolutions in 8 bits: a small card's memory for a small error (docs/memory.md). As
   * `mixedPrecision` says when left out (`--frozen_weights`).
   */
  readonly frozenWeights?: "int8";
  /**
   * Multiplies f16 by f16, two at a time, where both are stored so: faster on many cards, less exact (docs/f16_arithmetic.md). Needs `mixedPrecision` `fp16`, and a
   * card with shader-f16. Off when left out (`--f16_arithmetic`).
   */
  readonly f16Arithmetic?: boolean;
  /** 1 takes the text encoder's last layer; 1 when left out. */
  readonly clipSkip?: number;
}

/** Opens the base models, one for both networks or one each, and puts them on the machine's WebGPU device. */
export function loadBases(options: LoadBasesOptions) {
  const name = "load bases";
  checkOptions<LoadBasesOptions>(name, options, {
    network1: true,
    network2: true,
    vae: true,
    config: true,
    hub: true,
    merge: true,
    mixedPrecision: true,
    frozenWeights: true,
    f16Arithmetic: true,
    clipSkip: true,
  });
  const { mixedPrecision = "no", frozenWeights, f16Arithmetic = false, clipSkip = 1, ...names } = options,
    { hub, merge = [], ...paths } = names;
  if (hub !== undefined) {
    checkOptions<HubOptions>(name, hub, { revision: true, cacheFolder: true, endpoint: true, offline: true }, "hub");
  }
  for (const [option, value] of Object.entries(paths)) {
    if (value === undefined || (typeof value === "string" && value !== "")) continue;
    throw new TypeError(`Cannot load bases: ${option} is ${JSON.stringify(value)}, must be a path`);
  }
  for (const [i, each] of merge.entries()) {
    checkOptions<MergedLora>(name, each, { weights: true, multiplier: true }, `merge[${i}]`);
    if (typeof each.weights !== "string" || !Number.isFinite(each.multiplier ?? 1)) {
      throw new TypeError(
        `Cannot load bases: merge[${i}] is ${
          JSON.stringify(each)
        }, must have weights, a file, and may have multiplier, a number`,
      );
    }
  }
  if (names.network1 === undefined) throw new TypeError("Cannot load bases: network1 is missing, must be a path");
  const precision = storageFormat("Cannot load bases", mixedPrecision);
  if (frozenWeights !== undefined && frozenWeights !== "int8") {
    throw new RangeError(
      `Cannot load bases: frozenWeights is ${JSON.stringify(frozenWeights)}, must be int8 or left out`,
    );
  }
  if (typeof f16Arithmetic !== "boolean") {
    throw new TypeError(`Cannot load bases: f16Arithmetic is ${JSON.stringify(f16Arithmetic)}, must be true or false`);
  }
  if (f16Arithmetic && (mixedPrecision !== "fp16" || frozenWeights !== undefined)) {
    throw new RangeError(
      "Cannot load bases: f16Arithmetic is true, must be false unless weights and activations are stored in f16: with mixedPrecision fp16 and " +
        "without frozenWeights",
    );
  }
  const chosen = { ...frozenWeights ? { frozenWeights } : {}, ...f16Arithmetic ? { f16Arithmetic } : {} };
  const kept = { precision, clipSkip, ...chosen };
  if (!Number.isInteger(clipSkip) || clipSkip < 1) {
    throw new RangeError(`Cannot load bases: clipSkip is ${clipSkip}, must be a whole number above 0`);
  }
  return defineStep({
    name,
    version: 1,
    options: {
      mixedPrecision,
      ...chosen,
      clipSkip,
      multipliers: merge.map(({ multiplier = 1 }) => multiplier),
    },
    gives: { bases },
    // The VAE counts as well: latents and pictures come of it.
    fingerprint: (_, folder) =>
      withKeptHashes(join(folder, "model_hashes.json"), async () => {
        const { network1, network2 } = await openBases(names, {});
        const distinct = new Set([network1.checkpoint, network2.checkpoint]);
        const merged = merge.map(({ weights }) => hashFile(weights));
        return await Promise.all([...[...distinct].map(contentOf), ...merged]);
      }),
    plan: async () => {
      const opened = await openBases(names, kept);
      for (const { weights } of merge) await readNamedLora(weights, "--base_weights", readLoraShapes);
      const distinct = [...new Set([opened.network1, opened.network2])];
      const baseBytes = distinct.reduce((total, base) => total + base.weightBytes, 0);
      return {
        figures: { baseParameters: opened.network1.parameterCount, baseBytes },
        lines: [
          distinct.length === 1 ? "both networks share one base" : "each network has its own base",
          ...f16Arithmetic ? ["what is stored in f16 is multiplied in f16"] : [],
          ...merge.map(({ weights, multiplier = 1 }) => `${weights} is merged into it, times ${multiplier}`),
        ],
        gives: { bases: opened },
        disk: await downloadsOf(distinct.map(({ checkpoint }) => checkpoint)),
        check: async () => {
          if (f16Arithmetic) checkF16Arithmetic(await adapterLimits());
          await checkOnAdapter([], baseBytes);
        },
      };
    },
    run: async (_, run) => {
      let last = "";
      const report = (message: string, doneBytes: number, totalBytes: number) => {
        run.signal.throwIfAborted();
        // There are hundreds of small weights, and thousands of pieces of a file.
        const here = `${message} ${Math.floor(100 * doneBytes / totalBytes)}`;
        if (here === last) return;
        last = here;
        const [done, total] = [doneBytes, totalBytes].map((bytes) => Math.round(bytes / 1e6));
        run.progress({ done, total, unit: "MB", message });
      };
      const events = {
        warn: run.warn,
        onLoaded: (done: number, total: number) => report("loading weights", done, total),
        onFetched: (file: string, done: number, total: number) => report(`fetching ${file}`, done, total),
      };
      const bases = await loadBasesOn(names, kept, events);
      run.machine(machineFacts(bases.device.facts));
      return { bases };
    },
  });
}
