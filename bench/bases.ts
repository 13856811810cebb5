import { copyFile, mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Device, FloatFormat } from "../engine/mod.ts";
import { BaseModel } from "../models/base_model.ts";
import { VaeModel } from "../models/vae_model.ts";
import { projectFolder } from "../tools/project_files.ts";

/** Base models that are measured: the small one that comes with the project, and SD v1.5's sizes with weights by rule. */
export type BaseName = "toy" | "sd15";

/** The small base model's folder. */
export const toyFolder: string = join(projectFolder, "assets", "toy", "base");

/** Reads a base's configurations. */
export async function openBase(name: BaseName, precision: FloatFormat): Promise<BaseModel> {
  if (name === "toy") return await BaseModel.open(toyFolder, { precision });
  const folder = await mkdtemp(join(tmpdir(), "dualora-sd15-"));
  try {
    for (const part of ["text_encoder", "unet", "vae"]) {
      await mkdir(join(folder, part));
      const config = join(projectFolder, "models", "checkpoint", "sd15", `${part}.json`);
      await copyFile(config, join(folder, part, "config.json"));
    }
    return await BaseModel.open(folder, { precision });
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** Puts the weights of its text encoder and UNet on a device. */
export async function loadBase(name: BaseName, base: BaseModel, device: Device): Promise<void> {
  if (name === "toy") await base.load(device);
  else await base.loadByRule(device, 0);
}

/** Puts its VAE on a device. */
export async function loadVae(name: BaseName, { checkpoint }: BaseModel, device: Device): Promise<VaeModel> {
  return name === "toy" ? await VaeModel.load(checkpoint, device) : await VaeModel.loadByRule(checkpoint, device, 0);
}
