import type { TensorFile, TensorInfo } from "../../formats/tensor_file.ts";
import type { ConfigJson } from "../config_reader.ts";
import { ldmPrefixes } from "./ldm_keys.ts";
import type { ModelFolder } from "./model_folder.ts";

/** What a file holds, from the names and shapes of its tensors. */
export type FileKind =
  /** Text encoder and UNet of Stable Diffusion v1 in the original layout, with or without a VAE. */
  | { readonly kind: "checkpoint" }
  /** A VAE alone: names as in the original layout, the same without their prefix, or diffusers' names. */
  | { readonly kind: "vae"; readonly names: "original" | "original without prefix" | "diffusers" }
  | { readonly kind: "other" } & OtherKind;

type Tensors = Pick<TensorFile, "tensors">;

const needsV1 = "Only Stable Diffusion v1 models are supported; name one of those";
const diffusersPart = "Name the folder above, which holds text_encoder, unet and vae";

/** Names of adapters' tensors: kohya's, diffusers' and PEFT's, LyCORIS's. */
const loraNames =
  /^lora_(te|te1|te2|unet)_|[._]lora[_.](down|up|A|B)\.|\.lora_linear_layer\.|\.(hada_w1_a|lokr_w1|oft_blocks)/;

/** Some tokens for a text encoder. */
export const textualInversion: OtherKind = {
  what: "a textual inversion embedding",
  advice: "It is a few tokens for a text encoder, no model; name the model it was trained on",
};

/** What a file of tensors is, as far as it matters here. */
export function recognizeFile(file: Tensors): FileKind {
  const names = [...file.tensors.keys()];
  const has = (start: string) => names.some((name) => name.startsWith(start));
  const other = otherKind(file, names, has);
  if (other !== null) return { kind: "other", ...other };
  if (has(ldmPrefixes.unet) && has(ldmPrefixes.text_encoder)) return { kind: "checkpoint" };
  if (has(`${ldmPrefixes.vae}encoder.`)) return { kind: "vae", names: "original" };
  if (has("encoder.down.")) return { kind: "vae", names: "original without prefix" };
  if (has("encoder.down_blocks.")) return { kind: "vae", names: "diffusers" };
  const some = names.slice(0, 3).map((name) => JSON.stringify(name)).join(", ");
  return {
    kind: "other",
    what: `no kind of model known here: it has ${names.length} tensors, such as ${some}`,
    advice: needsV1,
  };
}

/** Something else than a Stable Diffusion v1 model. */
export interface OtherKind {
  /** In a noun phrase: `an SDXL model`. */
  readonly what: string;
  /** What to do, in a sentence without its full stop. */
  readonly advice: string;
}

function otherKind({ tensors }: Tensors, names: readonly string[], has: (start: string) => boolean): OtherKind | null {
  if (
    names.some((name) => loraNames.test(name))
  ) {
    return {
      what: "a LoRA file",
      advice:
        "It goes on top of a base model: name the model it was trained on here, and the LoRA as a network's weights",
    };
  }
  if (isTextualInversion([...tensors.values()])) return textualInversion;
  if (has("control_model.") || has("input_hint_block.") || has("controlnet_cond_embedding.")) {
    return { what: "a ControlNet", advice: "Name the base model it was trained on" };
  }
  if (has("conditioner.embedders.")) return { what: "an SDXL model", advice: needsV1 };
  if (has("model.diffusion_model.joint_blocks.")) return { what: "a Stable Diffusion 3 model", advice: needsV1 };
  if (has("model.diffusion_model.double_blocks.") || has("double_blocks.")) {
    return { what: "a Flux model", advice: needsV1 };
  }
  if (has("cond_stage_model.model.")) return { what: "a Stable Diffusion 2.x model", advice: needsV1 };
  const channels = tensors.get("model.diffusion_model.input_blocks.0.0.weight")?.shape[1];
  if (channels !== undefined && channels !== 4) return ofChannels(channels);
  if (has(ldmPrefixes.unet) && !has(ldmPrefixes.text_encoder)) {
    return { what: "a UNet without a text encoder", advice: "Name a whole checkpoint, or a Diffusers folder" };
  }
  if (has("down_blocks.") && has("time_embedding.")) {
    return { what: "the UNet of a Diffusers folder", advice: diffusersPart };
  }
  if (has("text_model.")) return { what: "the text encoder of a Diffusers folder", advice: diffusersPart };
  return null;
}

/** One or two small tables of states as wide as a text encoder's, and nothing that looks like a layer. */
function isTextualInversion(tensors: readonly TensorInfo[]): boolean {
  const widths = [768, 1024, 1280];
  return tensors.length <= 3 &&
    tensors.every(({ name, shape }) =>
      !/\.(weight|bias)$/.test(name) && shape.length >= 1 && shape.length <= 2 &&
      widths.includes(shape[shape.length - 1])
    );
}

/** A UNet whose first convolution takes more than the four channels of a latent. */
function ofChannels(channels: number): OtherKind {
  const what = ({ 9: "an inpainting model", 8: "an InstructPix2Pix model", 5: "a depth-to-image model" })[channels] ??
    "a variant of Stable Diffusion";
  return {
    what: `${what}: its UNet takes ${channels} channels, an ordinary one 4`,
    advice: "Name the ordinary model it was made from",
  };
}

/**
 * What a Diffusers folder holds if it is no Stable Diffusion v1 model; else null.
 *
 * @param configs `model_index.json` and `unet/config.json`, where they are there.
 */
export function recognizeFolder(
  folder: Pick<ModelFolder, "files">,
  configs: { readonly index: ConfigJson | null; readonly unet: ConfigJson | null },
): OtherKind | null {
  const option = (config: ConfigJson | null, name: string) => (config?.json as Record<string, unknown> | null)?.[name];
  const pipeline = String(option(configs.index, "_class_name") ?? "");
  const width = option(configs.unet, "cross_attention_dim"), channels = option(configs.unet, "in_channels");
  if (folder.files.has("text_encoder_2/config.json") || /^StableDiffusionXL/.test(pipeline) || width === 2048) {
    return { what: "an SDXL model", advice: needsV1 };
  }
  if (folder.files.has("transformer/config.json")) {
    return { what: `a model with a transformer instead of a UNet${pipeline && ` (${pipeline})`}`, advice: needsV1 };
  }
  if (width === 1024) return { what: "a Stable Diffusion 2.x model", advice: needsV1 };
  return typeof channels === "number" && channels !== 4 ? ofChannels(channels) : null;
}
