/**
 * The toy base in the layouts in which people have their models.
 *
 * @module
 */
import { cp, mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { SafetensorsFile, type TensorData, writeSafetensors } from "../../formats/safetensors.ts";
import { writeTorchCheckpoint } from "../../formats/torch_checkpoint/writer.ts";
import { laterKey, ldmKey, ldmShape, type LdmSizes, type PartName } from "../../models/checkpoint/ldm_keys.ts";
import { ConfigReader } from "../../models/config_reader.ts";
import { readUNetConfig } from "../../models/unet/config.ts";
import { readVaeConfig } from "../../models/vae/config.ts";

/** The toy base's Diffusers folder. */
export const toyBase = fileURLToPath(new URL("../../assets/toy/base", import.meta.url));

/** Parts of a base, by their folders. */
export const partNames = ["text_encoder", "unet", "vae"] as const;

const fileStems = { text_encoder: "model", unet: "diffusion_pytorch_model", vae: "diffusion_pytorch_model" } as const;

/** A part's tensors as the toy base's own file has them. */
export async function toyTensors(part: PartName): Promise<TensorData[]> {
  await using file = await SafetensorsFile.open(join(toyBase, part, `${fileStems[part]}.safetensors`));
  const tensors: TensorData[] = [];
  for (const { name, type, shape } of file.tensors.values()) {
    tensors.push({ name, type, shape, bytes: await file.bytes(name) });
  }
  return tensors;
}

/** What decides the toy base's names in the original layout. */
export async function toySizes(): Promise<LdmSizes> {
  const reader = (part: PartName) => ConfigReader.open(join(toyBase, part, "config.json"));
  return { unet: readUNetConfig(await reader("unet")), vae: readVaeConfig(await reader("vae")) };
}

/** A part's tensors in the original layout. */
export async function ldmTensors(part: PartName): Promise<TensorData[]> {
  const sizes = await toySizes();
  return (await toyTensors(part)).map((tensor) => ({
    ...tensor,
    name: ldmKey(part, tensor.name, sizes),
    shape: ldmShape(part, tensor.name, tensor.shape),
  }));
}

/** All parts' tensors in the original layout: a pruned checkpoint. */
export async function ldmCheckpoint(): Promise<TensorData[]> {
  return (await Promise.all(partNames.map(ldmTensors))).flat();
}

/** A tensor of a name that no model here has a place for. */
export function stranger(name: string, shape: readonly number[] = [2], type: TensorData["type"] = "F32"): TensorData {
  const elements = shape.reduce((product, size) => product * size, 1);
  return { name, type, shape, bytes: new Uint8Array(elements * { F32: 4, I64: 8, F16: 2 }[type as "F32"]).fill(0x3c) };
}

/** What a training run leaves in its checkpoint beside the models. */
const trainingExtras: readonly TensorData[] = [
  stranger("model_ema.decay", []),
  stranger("model_ema.num_updates", [], "I64"),
  stranger("model_ema.diffusion_modelinput_blocks00weight", [32, 4, 3, 3]),
  stranger("first_stage_model.loss.perceptual_loss.lin0.model.1.weight", [1, 4, 1, 1]),
  stranger("alphas_cumprod", [1000]),
  stranger("cond_stage_model.transformer.text_model.embeddings.position_ids", [1, 77], "I64"),
];

/** Ways in which the toy base is written to disk; each makes it at a path and gives what a user would name. */
export const layouts: Readonly<Record<string, (path: string) => Promise<string>>> = {
  "a Diffusers folder": () => Promise.resolve(toyBase),
  "a Diffusers folder of .bin files": (path) =>
    folderWith(path, async (part, folder) => {
      const stem = part === "text_encoder" ? "pytorch_model" : "diffusion_pytorch_model";
      await writeTorchCheckpoint(join(folder, `${stem}.bin`), await toyTensors(part));
    }),
  "a Diffusers folder with the fp16 variant alone": (path) =>
    folderWith(path, async (part, folder) => {
      await writeSafetensors(join(folder, `${fileStems[part]}.fp16.safetensors`), await toyTensors(part));
    }),
  "a Diffusers folder in several files": (path) =>
    folderWith(path, async (part, folder) => {
      const tensors = await toyTensors(part), half = tensors.length >> 1, map: Record<string, string> = {};
      for (const [i, some] of [tensors.slice(0, half), tensors.slice(half)].entries()) {
        const name = `${fileStems[part]}-0000${i + 1}-of-00002.safetensors`;
        await writeSafetensors(join(folder, name), some);
        for (const tensor of some) map[tensor.name] = name;
      }
      const index = JSON.stringify({ metadata: { total_size: 0 }, weight_map: map });
      await writeFile(join(folder, `${fileStems[part]}.safetensors.index.json`), index);
    }),
  "a Diffusers folder with the VAE's later names": (path) =>
    folderWith(path, async (part, folder) => {
      const tensors = (await toyTensors(part)).map((each) => ({
        ...each,
        name: laterKey(part, each.name) ?? each.name,
      }));
      await writeSafetensors(join(folder, `${fileStems[part]}.safetensors`), tensors);
    }),
  "a pruned .safetensors": async (path) => {
    await writeSafetensors(`${path}.safetensors`, await ldmCheckpoint());
    return `${path}.safetensors`;
  },
  "a .safetensors with EMA weights and position_ids": async (path) => {
    await writeSafetensors(`${path}.safetensors`, [...await ldmCheckpoint(), ...trainingExtras]);
    return `${path}.safetensors`;
  },
  "a .safetensors whose text encoder has shorter names": async (path) => {
    const tensors = (await ldmCheckpoint()).map((tensor) => ({
      ...tensor,
      name: tensor.name.replace(".transformer.text_model.", ".transformer."),
    }));
    await writeSafetensors(`${path}.safetensors`, tensors);
    return `${path}.safetensors`;
  },
  "a .safetensors whose VAE's attention is linear": async (path) => {
    const tensors = (await ldmCheckpoint()).map((tensor) => ({
      ...tensor,
      shape: /attn_1\.\w+\.weight$/.test(tensor.name) ? tensor.shape.slice(0, 2) : tensor.shape,
    }));
    await writeSafetensors(`${path}.safetensors`, tensors);
    return `${path}.safetensors`;
  },
  "a pruned .ckpt": async (path) => {
    await writeTorchCheckpoint(`${path}.ckpt`, await ldmCheckpoint());
    return `${path}.ckpt`;
  },
  "a .ckpt with state_dict and EMA weights": async (path) => {
    const tensors = [...trainingExtras, ...await ldmCheckpoint()];
    const counters = new Map([["epoch", 3], ["global_step", 470000]]);
    await writeTorchCheckpoint(`${path}.ckpt`, tensors, { within: "state_dict", counters });
    return `${path}.ckpt`;
  },
};

/** A copy of the toy base without its tensors, which `write` puts there. */
async function folderWith(path: string, write: (part: PartName, folder: string) => Promise<void>): Promise<string> {
  await mkdir(path, { recursive: true });
  await cp(toyBase, path, { recursive: true });
  for (const part of partNames) {
    await rm(join(path, part, `${fileStems[part]}.safetensors`));
    await write(part, join(path, part));
  }
  return path;
}
