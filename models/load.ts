import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { type Device, elementCount } from "../engine/mod.ts";
import { SafetensorsFile } from "../formats/safetensors.ts";
import { weightByRule } from "../formats/weights_by_rule.ts";
import { laterKey, type PartName } from "./checkpoint/ldm_keys.ts";
import { toEngineLayout, type Weights, type WeightSpec } from "./weights.ts";

/** How weights are put on a device. */
export interface LoadOptions {
  /** `f16` rounds values to f16 also where they are stored as f32, as on adapters without f16. The weights' own format when left out. */
  readonly precision?: "f32" | "f16";
}

/** What was read from a part's folder. */
export interface LoadReport {
  readonly file: string;
  /** Tensors of the file that the model has no place for; worth a warning. */
  readonly unknownKeys: readonly string[];
}

const fileNames = [
  "diffusion_pytorch_model.safetensors",
  "model.safetensors",
  "diffusion_pytorch_model.fp16.safetensors",
  "model.fp16.safetensors",
];

/** Uploads wait in host memory until the device takes them; after so many bytes they are waited for. */
const waitEveryBytes = 2 ** 28;

/**
 * Fills a model's weights from a part's folder, such as `<base>/unet`, one tensor at a time.
 *
 * @throws {Error} If the folder or its safetensors file is missing, or the file lacks weights.
 * @throws {TypeError} If a tensor has another shape than the model, or holds integers.
 * @throws {SafetensorsError} If the file is not sound.
 */
export async function loadWeights(
  device: Device,
  weights: Weights,
  folder: string,
  options: LoadOptions = {},
): Promise<LoadReport> {
  const file = await findFile(folder);
  await using opened = await SafetensorsFile.open(file);
  const keys = new Map(weights.all.map((spec) => [spec, keyIn(opened, weights.name, spec.key)]));
  const missing = weights.all.filter((spec) => keys.get(spec) === null);
  if (missing.length > 0) {
    const { key, shape } = missing[0], more = missing.length > 1 ? ` and ${missing.length - 1} more` : "";
    throw new Error(
      `Cannot load ${file}: it lacks ${key}, expected with shape [${shape.join(", ")}]${more}; ` +
        `it has ${opened.tensors.size} tensors. Does it belong to the config.json beside it?`,
    );
  }
  for (const [{ key, shape }, found] of keys) {
    const entry = opened.entry(found!);
    if (entry.shape.join() === shape.join()) continue;
    throw new TypeError(
      `Cannot load ${file}: ${key} has shape [${entry.shape.join(", ")}], expected [${shape.join(", ")}]. ` +
        "Does it belong to the config.json beside it?",
    );
  }
  await fillWeights(device, weights, (spec) => opened.float32(keys.get(spec)!), options);
  const used = new Set(keys.values());
  const unknownKeys = [...opened.tensors.keys()].filter((key) => !used.has(key) && !key.endsWith(".position_ids"));
  return { file, unknownKeys };
}

/** Fills a model's weights by rule, from their names and the salt: for checks without a checkpoint. */
export async function fillWeightsByRule(
  device: Device,
  weights: Weights,
  { salt = 0, ...options }: LoadOptions & { salt?: number } = {},
): Promise<void> {
  await fillWeights(device, weights, ({ key, shape }) => weightByRule(`${weights.name}.${key}`, shape, salt), options);
}

/**
 * Fills a model's weights from a function.
 *
 * @param read Gives a weight's elements in the checkpoint's layout.
 */
export async function fillWeights(
  device: Device,
  weights: Weights,
  read: (spec: WeightSpec) => Float32Array | Promise<Float32Array>,
  { precision }: LoadOptions = {},
): Promise<void> {
  let waitingBytes = 0;
  for (const spec of weights.all) {
    const values = toEngineLayout(await read(spec), spec.shape, spec.layout);
    device.upload(spec.variable, precision === "f16" ? new Float16Array(values) : values);
    waitingBytes += 4 * elementCount(spec.shape);
    if (waitingBytes < waitEveryBytes) continue;
    // Reading nothing waits for all that was queued before.
    await device.readBuffers([]);
    waitingBytes = 0;
  }
}

async function findFile(folder: string): Promise<string> {
  let names: string[];
  try {
    names = await readdir(folder);
  } catch (error) {
    throw new Error(
      `Cannot load ${folder}: ${(error as Error).message}. Expected a Diffusers folder, with a folder for each part`,
      { cause: error },
    );
  }
  const name = fileNames.find((name) => names.includes(name));
  if (name) return join(folder, name);
  const found = names.length ? names.toSorted().slice(0, 5).join(", ") : "nothing";
  throw new Error(`Cannot load ${folder}: it holds ${found}, expected ${fileNames.slice(0, 2).join(" or ")}`);
}

/** The file's name for a weight: the model's own, or the later one; null where it has neither. */
function keyIn(file: SafetensorsFile, part: string, key: string): string | null {
  return [key, laterKey(part as PartName, key)].find((name) => name !== null && file.tensors.has(name)) ?? null;
}
