import { deepEqual, equal, ok } from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { type LoraFile, readLora } from "../../formats/lora_file.ts";
import * as d from "../../mod.ts";

/** Layers of the toy that get a module, under the names of its checkpoint: the text encoder's linear layers, all of the UNet's attention blocks. */
async function adaptedLayers(part: "text_encoder" | "unet"): Promise<string[]> {
  const file = part === "unet" ? "diffusion_pytorch_model" : "model";
  const bytes = await readFile(join(d.toy.base, part, `${file}.safetensors`));
  const header = JSON.parse(bytes.toString("utf8", 8, 8 + Number(bytes.readBigUInt64LE(0))));
  return Object.entries<{ shape: number[] }>(header).flatMap(([name, { shape }]) => {
    const isIn = part === "unet" ? name.includes(".attentions.") : /\.(self_attn|mlp)\./.test(name);
    return isIn && name.endsWith(".weight") && shape.length > 1 ? [name.slice(0, -".weight".length)] : [];
  });
}

/** Checks a LoRA file of the toy: kohya's names for 72 text modules and the UNet's, rank and alpha, and that it was trained. */
export async function checkToyLora(path: string, { rank, alpha }: { rank: number; alpha: number }): Promise<LoraFile> {
  const file = await readLora(path);
  const kohya = (prefix: string) => (layer: string) => `${prefix}_${layer.replaceAll(".", "_")}`;
  const text = (await adaptedLayers("text_encoder")).map(kohya("lora_te"));
  const unet = (await adaptedLayers("unet")).map(kohya("lora_unet"));
  equal(text.length, 72);
  deepEqual(file.modules.map(({ name }) => name).sort(), [...text, ...unet].sort());
  for (const { down, up, alpha: found } of file.modules) {
    deepEqual([down.shape[0], up.shape[1], found], [rank, rank, alpha]);
    ok([...down.values, ...up.values].every(Number.isFinite));
  }
  // Up weights begin at zero.
  ok(file.modules.every(({ up }) => up.values.some((value) => value !== 0)), `${path} has modules that never learned`);
  equal(file.metadata.get("ss_network_dim"), String(rank));
  equal(Number(file.metadata.get("ss_network_alpha")), alpha);
  return file;
}
