import { copyFile, mkdir } from "node:fs/promises";
import { join } from "node:path";
import type { ProbeRequest } from "../../tools/probe/context.ts";
import { goldenPath, sharedDevice } from "../probe/golden_tensors.ts";

/** What asks a part of the probe for SD v1.5 with weights by rule. */
export type FullRequest = Omit<ProbeRequest, "input">;

/** Runs a check on SD v1.5's configurations, as a Diffusers folder without weights. */
export async function withFullModel(
  precision: "f32" | "f16",
  body: (request: FullRequest) => Promise<void>,
): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    for (const part of ["text_encoder", "unet", "vae"]) {
      await mkdir(join(folder, part));
      await copyFile(goldenPath(`models/${part}.config.json`), join(folder, part, "config.json"));
    }
    await body({ device: await sharedDevice(), folder, salt: 0, precision, options: {} });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}
