/**
 * The tools for LoRA files beside sd-scripts' own, on small files and the toy base: figures of tools/reference/files/gen_lora_tools.py.
 *
 * @module
 */
import { deepEqual, equal, ok } from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { type LoraFileModule, readLora, writeLora } from "../../../formats/lora_file.ts";
import { openTensorFile } from "../../../formats/open_tensor_file.ts";
import { uniformByRule } from "../../../formats/weights_by_rule.ts";
import { loraDelta } from "../../../lora/merge.ts";
import { moduleName } from "../../../lora/module_plan.ts";
import { BaseModel } from "../../../models/base_model.ts";
import { extractLora } from "../../../steps/lora_tools/extract.ts";
import { mergeLoras, mergeLorasIntoBase } from "../../../steps/lora_tools/merge.ts";
import { resizeLora } from "../../../steps/lora_tools/resize.ts";
import { toy } from "../../../steps/values/toy.ts";
import { inNewFolder } from "../small_training.ts";

/** A change of weights: its norm, and eight of its elements. */
interface Figures {
  readonly norm: number;
  readonly elements: readonly number[];
}

type Modules = Readonly<Record<string, Figures & { readonly rank: number; readonly alpha: number }>>;

interface Merge {
  readonly files: readonly string[];
  readonly ratios: readonly number[];
}

interface Golden {
  readonly layers: Readonly<Record<string, readonly number[]>>;
  readonly files: Readonly<Record<string, readonly [rank: number, convRank: number, alpha: number]>>;
  readonly merge: readonly (Merge & { readonly modules: Modules })[];
  readonly merge_into_base: readonly (Merge & { readonly changes: Readonly<Record<string, Figures>> })[];
  readonly resize: readonly {
    readonly file: string;
    readonly rank: number;
    readonly method?: "sv_ratio" | "sv_fro" | "sv_cumulative";
    readonly target?: number;
    readonly modules: Modules;
  }[];
  readonly svd_merge:
    readonly (Merge & { readonly rank: number; readonly conv_rank: number; readonly modules: Modules })[];
  readonly extract: readonly {
    readonly merged: string;
    readonly rank: number;
    readonly conv_rank: number | null;
    readonly modules: Modules;
  }[];
}

const golden: Golden = JSON.parse(
  await readFile(new URL("../../golden/lora_tools/upstream.json", import.meta.url), "utf8"),
);

/** A file by the golden's rule. */
function modulesOf(file: string): LoraFileModule[] {
  const [rank, convRank, alpha] = golden.files[file];
  return Object.entries(golden.layers).map(([name, [outSize, inSize, ...kernel]]) => {
    const own = kernel[0] === 3 ? convRank : rank;
    const down = [own, inSize, ...kernel], up = [outSize, own, ...kernel.map(() => 1)];
    const filled = (shape: number[], end: string) =>
      uniformByRule(`${file}.${name}.${end}`, shape.reduce((a, b) => a * b));
    const row = down.reduce((a, b) => a * b) / own;
    return {
      name,
      alpha,
      down: { shape: down, values: filled(down, "down").map((value, i) => value / 2 ** Math.floor(i / row)) },
      up: { shape: up, values: filled(up, "up") },
    };
  });
}

/** All files of the golden, written into a folder. */
async function writeFiles(folder: string): Promise<(name: string) => string> {
  const path = (name: string) => join(folder, `${name}.safetensors`);
  for (const name of Object.keys(golden.files)) await writeLora(path(name), modulesOf(name));
  return path;
}

function checkFigures(found: ArrayLike<number>, { norm, elements }: Figures, limit: number, what: string) {
  const all = Array.from(found), own = Math.sqrt(all.reduce((sum, value) => sum + value * value, 0));
  ok(Math.abs(own - norm) <= limit * norm, `${what}: norm ${own}, wanted ${norm}`);
  // An element's share of the norm, if all were alike.
  const usual = norm / Math.sqrt(all.length);
  elements.forEach((wanted, i) => {
    const value = all[Math.floor(i * all.length / 8)];
    ok(Math.abs(value - wanted) <= 8 * limit * usual, `${what}, element ${i} of 8: ${value}, wanted ${wanted}`);
  });
}

async function checkModules(
  path: string,
  wanted: Modules,
  limit: number,
  what: string,
): Promise<readonly LoraFileModule[]> {
  const { modules } = await readLora(path);
  deepEqual(modules.map(({ name }) => name).toSorted(), Object.keys(wanted).toSorted(), what);
  for (const module of modules) {
    checkFigures(loraDelta(module, 1), wanted[module.name], limit, `${what}, ${module.name}`);
  }
  return modules;
}

const rated = (path: (name: string) => string, { files, ratios }: Merge) =>
  files.map((name, i) => ({ file: path(name), ratio: ratios[i] }));

Deno.test("merge adds factors as merge_lora.py does, whatever alphas and ratios are", () =>
  inNewFolder(async (folder) => {
    const path = await writeFiles(folder), output = path("merged");
    for (const row of golden.merge) {
      await mergeLoras(rated(path, row), output);
      const modules = await checkModules(output, row.modules, 1e-6, `${row.files}`);
      for (const { name, down, alpha } of modules) {
        deepEqual([down.shape[0], alpha], [row.modules[name].rank, row.modules[name].alpha], name);
      }
    }
  }));

Deno.test("merge changes a base model's weights as merge_lora.py does", () =>
  inNewFolder(async (folder) => {
    const path = await writeFiles(folder), base = await BaseModel.open(toy.base);
    const layers = [
      ...base.textLayers.map((layer) => ["text_encoder", layer] as const),
      ...base.unetLayers.map((layer) => ["unet", layer] as const),
    ];
    for (const [at, row] of golden.merge_into_base.entries()) {
      const output = join(folder, `base${at}`);
      await mergeLorasIntoBase("toy", rated(path, row), output, { precision: "float" });
      for (const part of ["text_encoder", "unet"] as const) {
        const file = part === "unet" ? "diffusion_pytorch_model" : "model";
        await using before = await openTensorFile(join(toy.base, part, `${file}.safetensors`));
        await using after = await openTensorFile(join(output, part, `${file}.safetensors`));
        for (const [, layer] of layers.filter(([each]) => each === part)) {
          const key = `${layer.path}.weight`, name = moduleName(part, layer);
          const [old, changed] = [await before.float32(key), await after.float32(key)];
          const change = changed.map((value, i) => value - old[i]), wanted = row.changes[name];
          // A weight and its change are summed in f32: 6e-8 of the weight, which is about as large.
          if (wanted) checkFigures(change, wanted, 1e-5, name);
          else ok(change.every((value) => value === 0), `${name} changed`);
        }
      }
    }
  }));

Deno.test("resize finds the ranks of resize_lora.py by every rule, and the same change of weights", () =>
  inNewFolder(async (folder) => {
    const path = await writeFiles(folder), output = path("resized");
    for (const { file, rank, method, target, modules } of golden.resize) {
      const what = `${file} to ${rank} by ${method} ${target}`, rule = method && { by: method, target: target! };
      await resizeLora(path(file), output, { rank, ...rule ? { rule } : {} });
      const found = await checkModules(output, modules, 1e-5, what);
      for (const { name, down, alpha } of found) {
        const old = modulesOf(file).find((module) => module.name === name)!, wanted = modules[name];
        // sd-scripts may make a rank larger than it was; the rest of it is 0.
        equal(down.shape[0], Math.min(wanted.rank, old.down.shape[0]), `${what}, ${name}`);
        ok(Math.abs(alpha / down.shape[0] - wanted.alpha / wanted.rank) < 1e-6, `${what}, ${name}`);
      }
    }
  }));

Deno.test("merge --concat and resize come to the change of weights of svd_merge_lora.py, where that cuts nothing off", () =>
  inNewFolder(async (folder) => {
    const path = await writeFiles(folder), [whole, output] = ["whole", "output"].map(path);
    for (const row of golden.svd_merge) {
      await mergeLoras(rated(path, row), whole, { concat: true });
      await resizeLora(whole, output, { rank: row.rank, convRank: row.conv_rank });
      const modules = await checkModules(output, row.modules, 1e-5, `${row.files}`);
      for (const { name, down } of modules) equal(down.shape[0], row.modules[name].rank, name);
    }
  }));

Deno.test("extract finds the modules and the change of weights of extract_lora_from_models.py, where that cuts nothing off", () =>
  inNewFolder(async (folder) => {
    const path = await writeFiles(folder), output = path("extracted");
    for (const [at, { merged, rank, conv_rank, modules }] of golden.extract.entries()) {
      const tuned = join(folder, `tuned${at}`);
      await mergeLorasIntoBase("toy", [{ file: path(merged), ratio: 1 }], tuned, { precision: "float" });
      const options = { rank, ...conv_rank === null ? {} : { convRank: conv_rank }, clampQuantile: 1 };
      await extractLora("toy", tuned, output, options);
      // Large layers are decomposed approximately, see docs/decisions/0044.
      const found = await checkModules(output, modules, 1e-4, `rank ${rank}, ${conv_rank}`);
      for (const { name, down, alpha } of found) {
        deepEqual([down.shape[0], alpha], [modules[name].rank, modules[name].alpha], name);
      }
    }
  }));
