import { copyFile, mkdir } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { LoraNetwork } from "../../lora/network.ts";
import { BaseModel, type BaseModelOptions } from "../../models/base_model.ts";
import type { TrainerNetwork } from "../../training/trainer.ts";

const goldens = fileURLToPath(new URL("../golden/models/", import.meta.url));

/** Stable Diffusion v1.5 in its full size, by its configurations: it can be planned with, and has no weights. */
export async function openStableDiffusion(options: BaseModelOptions = {}): Promise<BaseModel> {
  const folder = await Deno.makeTempDir({ prefix: "dualora-sd15-" });
  try {
    for (const part of ["text_encoder", "unet", "vae"]) {
      await mkdir(join(folder, part));
      await copyFile(join(goldens, `${part}.config.json`), join(folder, part, "config.json"));
    }
    return await BaseModel.open(folder, options);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Networks 1 and 2 on a base, of all its layers that LoRA networks usually train. */
export function dualNetworks(base: BaseModel, rank: number): TrainerNetwork[] {
  const layers = { text_encoder: base.textLayers, unet: base.unetLayers };
  return ([1, 2] as const).map((number) => ({
    number,
    base,
    lora: new LoraNetwork(`network ${number}`, layers, { rank }),
    settings: { learningRate: 1e-4 },
  }));
}
