import { stat } from "node:fs/promises";
import { join } from "node:path";
import { defineStep, recordFolder } from "../pipeline/mod.ts";
import { bases } from "./things.ts";
import { checkOptions } from "./values/check_options.ts";
import { baseFolder, type BaseFolders, loadBasesOn, openBases } from "./values/bases.ts";

/** Options of `loadBases`. */
export interface LoadBasesOptions extends BaseFolders {
  /** How frozen weights are kept on the device; f32 when left out. */
  readonly precision?: "f32" | "f16";
  /** 1 takes the text encoder's last layer; 1 when left out. */
  readonly clipSkip?: number;
}

// The VAE counts as well: latents and pictures come of it.
const parts = ["tokenizer", "text_encoder", "unet", "vae", "scheduler"];

/** Opens the base models, one for both networks or one each, and puts them on the machine's WebGPU device. */
export function loadBases(options: LoadBasesOptions) {
  const name = "load bases", known = { network1: true, network2: true, precision: true, clipSkip: true } as const;
  checkOptions<LoadBasesOptions>(name, options, known);
  const { network1, network2, precision = "f32", clipSkip = 1 } = options;
  if (!["f32", "f16"].includes(precision)) {
    throw new RangeError(`Cannot load bases: precision is ${JSON.stringify(precision)}, must be f32 or f16`);
  }
  if (!Number.isInteger(clipSkip) || clipSkip < 1) {
    throw new RangeError(`Cannot load bases: clipSkip is ${clipSkip}, must be a whole number above 0`);
  }
  const folders = { network1, network2: network2 ?? network1 };
  return defineStep({
    name,
    version: 1,
    options: { precision, clipSkip },
    gives: { bases },
    fingerprint: async () => {
      const found: unknown[] = [];
      for (const name of new Set([folders.network1, folders.network2])) {
        for (const part of parts) {
          const folder = join(baseFolder(name), part);
          if (await stat(folder).catch(() => null)) {
            found.push({ part, files: await recordFolder(folder, { followLinks: true }) });
          }
        }
      }
      return found;
    },
    plan: async () => {
      const opened = await openBases(folders, { precision, clipSkip });
      const bytes = precision === "f16" ? 2 : 4;
      const distinct = [...new Set([opened.network1, opened.network2])];
      return {
        figures: {
          baseParameters: opened.network1.parameterCount,
          baseBytes: distinct.reduce((total, base) => total + base.parameterCount * bytes, 0),
        },
        lines: [distinct.length === 1 ? "both networks share one base" : "each network has its own base"],
        gives: { bases: opened },
      };
    },
    run: async (_, run) => {
      run.progress({ done: 0, total: 1, unit: "models", message: "loading weights" });
      const loaded = await loadBasesOn(folders, { precision, clipSkip }, run.warn);
      run.progress({ done: 1, total: 1, unit: "models", message: loaded.device.facts.name });
      return { bases: loaded };
    },
  });
}
