import { copyFile, mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { LoraNetwork } from "../../lora/network.ts";
import { BaseModel, type BaseModelOptions } from "../../models/base_model.ts";
import type { TrainerNetwork } from "../../training/trainer.ts";
import { projectFolder } from "../project_files.ts";

const configurations = join(projectFolder, "models", "checkpoint", "sd15");

/** Stable Diffusion v1.5 in its full size, by its configurations: it can be planned with, and has no weights. */
export async function openStableDiffusion(options: BaseModelOptions = {}): Promise<BaseModel> {
  const folder = await mkdtemp(join(tmpdir(), "dualora-sd15-"));
  try {
    for (const part of ["text_encoder", "unet", "vae"]) {
      await mkdir(join(folder, part));
      await copyFile(join(configurations, `${part}.json`), join(folder, part, "config.json"));
    }
    return await BaseModel.open(folder, options);
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** Networks 1 and 2 on a base, or on one each, of all layers that LoRA networks usually train. */
export function dualNetworks(base: BaseModel, rank: number, base2: BaseModel = base): TrainerNetwork[] {
  return [base, base2].map((base, k) => ({
    number: k === 0 ? 1 : 2,
    base,
    lora: new LoraNetwork(`network ${k + 1}`, { text_encoder: base.textLayers, unet: base.unetLayers }, { rank }),
    settings: { learningRate: 1e-4 },
  }));
}
