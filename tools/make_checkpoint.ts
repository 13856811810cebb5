/**
 * Makes a whole checkpoint of weights by rule, for checks of loading and training at full size without anyone's model:
 * `deno run -A tools/make_checkpoint.ts --layout ldm-ckpt --salt 1 --precision f16 model.ckpt`.
 *
 * The same salt gives the same weights in every layout. Tensors are made and written one at a time.
 *
 * @module
 */
import { Command, CommanderError, InvalidArgumentError, Option } from "@commander-js/extra-typings";
import { copyFile, cp, mkdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { encodeFloat32, type FloatType } from "../formats/element_types.ts";
import { writeSafetensors } from "../formats/safetensors.ts";
import { tensorSizeBytes, type TensorSource } from "../formats/tensor_data.ts";
import { writeTorchCheckpoint } from "../formats/torch_checkpoint/writer.ts";
import { weightByRule } from "../formats/weights_by_rule.ts";
import { ldmKey, ldmPrefixes, ldmShape, type LdmSizes, type PartName } from "../models/checkpoint/ldm_keys.ts";
import { readTextEncoderConfig } from "../models/clip/config.ts";
import { CLIPTextModel } from "../models/clip/text_encoder.ts";
import { ConfigReader } from "../models/config_reader.ts";
import { Source } from "../models/source.ts";
import { readUNetConfig } from "../models/unet/config.ts";
import { UNet2DConditionModel } from "../models/unet/unet_2d_condition.ts";
import { AutoencoderKL } from "../models/vae/autoencoder_kl.ts";
import { readVaeConfig } from "../models/vae/config.ts";
import { Weights } from "../models/weights.ts";

/** How a checkpoint lies on the disk: a folder of parts, or one file in the original (LDM) layout. */
export const checkpointLayouts = ["diffusers", "ldm-safetensors", "ldm-ckpt"] as const;

/** What checkpoint to make. */
export interface CheckpointRecipe {
  readonly layout: (typeof checkpointLayouts)[number];
  /** Another salt gives other weights. */
  readonly salt: number;
  readonly precision: "f32" | "f16";
  /** Diffusers folder whose parts' `config.json` give the sizes; SD v1.5's when left out. */
  readonly config?: string;
}

const partNames = ["unet", "vae", "text_encoder"] as const satisfies readonly PartName[];
const positionIds = "text_model.embeddings.position_ids";

/** Hears what has been made: bytes of tensors so far, of how many. */
export type OnTensor = (doneBytes: number, totalBytes: number) => void;

/** A part's config.json and the tensors that a model of it has. */
interface Part {
  readonly name: PartName;
  readonly configFile: string;
  readonly weights: Weights;
}

/**
 * Makes a checkpoint.
 *
 * @param path File to write, or for the layout `diffusers` a folder, which is made if need be.
 * @throws {Error} If a configuration is missing or not supported, or a file cannot be written.
 */
export async function makeCheckpoint(
  path: string,
  recipe: CheckpointRecipe,
  onTensor: OnTensor = () => {},
): Promise<void> {
  const { parts, sizes } = await readParts(recipe.config);
  if (recipe.layout !== "diffusers") {
    const tensors = counted(parts.flatMap((part) => ldmTensors(part, sizes, recipe)), onTensor);
    if (recipe.layout === "ldm-safetensors") return await writeSafetensors(path, tensors);
    const counters = new Map([["epoch", 0], ["global_step", 0]]);
    return await writeTorchCheckpoint(path, tensors, { within: "state_dict", counters });
  }
  const all = parts.map((part) => diffusersTensors(part, recipe));
  const onPart = counted(all.flat(), onTensor);
  let start = 0;
  for (const [index, { name, configFile }] of parts.entries()) {
    const folder = join(path, name), tensors = onPart.slice(start, start += all[index].length);
    await mkdir(folder, { recursive: true });
    await copyFile(configFile, join(folder, "config.json"));
    const file = name === "text_encoder" ? "model.safetensors" : "diffusion_pytorch_model.safetensors";
    await writeSafetensors(join(folder, file), tensors, { metadata: new Map([["format", "pt"]]) });
  }
  // What is no model has no weights: the noise schedule, and a tokenizer where the sizes' folder brings one.
  await mkdir(join(path, "scheduler"), { recursive: true });
  await copyIfThere(configFile("scheduler", recipe.config), join(path, "scheduler", "scheduler_config.json"));
  if (recipe.config !== undefined) await copyIfThere(join(recipe.config, "tokenizer"), join(path, "tokenizer"));
}

async function copyIfThere(from: string, to: string): Promise<void> {
  if (await stat(from).catch(() => null)) await cp(from, to, { recursive: true });
}

/** Names and shapes of a single file's tensors in the original layout: for comparison with other programs' files. */
export async function ldmTensorShapes(config?: string): Promise<Map<string, readonly number[]>> {
  const { parts, sizes } = await readParts(config);
  const tensors = parts.flatMap((part) => ldmTensors(part, sizes, { salt: 0, precision: "f32" }));
  return new Map(tensors.map(({ name, shape }) => [name, shape]));
}

type Values = Pick<CheckpointRecipe, "salt" | "precision">;

function diffusersTensors({ name, weights }: Part, values: Values): TensorSource[] {
  const tensors = weights.all.map(({ key, shape }) => tensorByRule(key, shape, `${name}.${key}`, values));
  return name === "text_encoder" ? [...tensors, positions(positionIds, weights)] : tensors;
}

function ldmTensors({ name, weights }: Part, sizes: LdmSizes, values: Values): TensorSource[] {
  const tensors = weights.all.map(({ key, shape }) =>
    tensorByRule(ldmKey(name, key, sizes), ldmShape(name, key, shape), `${name}.${key}`, values, shape)
  );
  return name === "text_encoder" ? [...tensors, positions(ldmPrefixes[name] + positionIds, weights)] : tensors;
}

/** @param ruleShape The shape in the Diffusers layout, on which the values depend. */
function tensorByRule(
  name: string,
  shape: readonly number[],
  ruleName: string,
  { salt, precision }: Values,
  ruleShape = shape,
): TensorSource {
  const type: FloatType = precision === "f16" ? "F16" : "F32";
  return { name, type, shape, read: () => encodeFloat32(weightByRule(ruleName, ruleShape, salt), type) };
}

/** The buffer of 0, 1, 2 … that transformers before 4.31 saved with the weights. */
function positions(name: string, weights: Weights): TensorSource {
  const [count] = weights.all.find(({ key }) => key.endsWith("position_embedding.weight"))!.shape;
  const read = () => new Uint8Array(BigInt64Array.from({ length: count }, (_, i) => BigInt(i)).buffer);
  return { name, type: "I64", shape: [1, count], read };
}

function counted(tensors: readonly TensorSource[], onTensor: OnTensor): TensorSource[] {
  const total = tensors.reduce((bytes, tensor) => bytes + tensorSizeBytes(tensor), 0);
  let done = 0;
  return tensors.map((tensor) => ({
    ...tensor,
    read: async () => {
      const bytes = await tensor.read();
      onTensor(done += bytes.length, total);
      return bytes;
    },
  }));
}

async function readParts(config: string | undefined): Promise<{ parts: Part[]; sizes: LdmSizes }> {
  const open = (part: PartName) => ConfigReader.open(configFile(part, config));
  const unet = readUNetConfig(await open("unet")), vae = readVaeConfig(await open("vae"));
  const text = readTextEncoderConfig(await open("text_encoder"));
  const parts = partNames.map((name): Part => ({
    name,
    configFile: configFile(name, config),
    weights: new Weights(name),
  }));
  const [unetSource, vaeSource, textSource] = parts.map(({ weights }) => new Source(weights));
  new UNet2DConditionModel(unetSource, unet);
  new AutoencoderKL(vaeSource, vae);
  new CLIPTextModel(textSource, text);
  return { parts, sizes: { unet, vae } };
}

/** A part's file of options: in the folder given, or SD v1.5's. */
function configFile(part: PartName | "scheduler", folder: string | undefined): string {
  if (folder !== undefined) return join(folder, part, part === "scheduler" ? "scheduler_config.json" : "config.json");
  return fileURLToPath(new URL(`../models/checkpoint/sd15/${part}.json`, import.meta.url));
}

function saltOf(text: string): number {
  const salt = Number(text);
  if (/^\d+$/.test(text) && Number.isSafeInteger(salt)) return salt;
  throw new InvalidArgumentError("It must be a whole number.");
}

if (import.meta.main) {
  const command = new Command("make_checkpoint")
    .description("Makes a whole checkpoint of weights by rule, in SD v1.5's sizes or those of a folder.")
    .argument("<out>", "file to write; for --layout diffusers a folder")
    .addOption(
      new Option("--layout <layout>", "how it lies on the disk").choices(checkpointLayouts).makeOptionMandatory(),
    )
    .option("--salt <number>", "another salt gives other weights", saltOf, 0)
    .addOption(
      new Option("--precision <precision>", "type of the weights").choices(["f32", "f16"] as const).default(
        "f32" as const,
      ),
    )
    .option("--config <folder>", "folder whose parts' config.json give the sizes; SD v1.5's when left out")
    .exitOverride()
    .action(async (out, { layout, salt, precision, config }) => {
      let shown = 0;
      await makeCheckpoint(out, { layout, salt, precision, config }, (done, total) => {
        if (done < total && done - shown < 2 ** 28) return;
        shown = done;
        console.log(`${(done / 1e9).toFixed(2)} of ${(total / 1e9).toFixed(2)} GB`);
      });
    });
  try {
    await command.parseAsync(Deno.args, { from: "user" });
  } catch (error) {
    if (!(error instanceof CommanderError)) console.error(error instanceof Error ? error.message : error);
    Deno.exit(error instanceof CommanderError ? (error.exitCode === 0 ? 0 : 2) : 1);
  }
}
