import { flagGroup } from "./flag.ts";

/** Flags about the base models. */
export const modelFlags = flagGroup("Base models", [
  {
    name: "pretrained_model_name_or_path",
    type: "text",
    value: "model",
    default: null,
    second: true,
    from: "both",
    status: "works",
    does:
      "base model: a Diffusers folder, a .safetensors or .ckpt file, owner/name on the hub, or toy, the small one that comes with the project; given twice, the second is network 2's",
  },
  {
    name: "vae",
    type: "text",
    value: "model",
    default: null,
    from: "both",
    status: "works",
    does: "another VAE than the base model's: a folder, a .safetensors, .ckpt or .pt file, or one on the hub",
  },
  {
    name: "base_config",
    type: "text",
    value: "folder",
    default: null,
    from: "own",
    status: "works",
    does:
      "Diffusers folder whose configurations and tokenizer a base in a single file is read with; SD v1.5's when unset",
  },
  {
    name: "v2",
    type: "switch",
    default: false,
    from: "both",
    status: { refused: "only models of Stable Diffusion 1.x can be trained" },
    does: "the base model is Stable Diffusion 2.x",
  },
  {
    name: "v_parameterization",
    type: "switch",
    default: false,
    from: "both",
    status: "works",
    does: "train for velocity instead of noise, whatever the base model's scheduler says",
  },
  {
    name: "clip_skip",
    type: "integer",
    value: "layer",
    default: null,
    from: "both",
    status: "works",
    does: "which layer of the text encoder is used, counted from the end; 1, the last one, when unset",
  },
  {
    name: "tokenizer_cache_dir",
    type: "text",
    value: "folder",
    default: null,
    from: "both",
    status: { means: "no effect: the tokenizer is read from the base model, so nothing is downloaded or kept" },
    does: "folder that keeps the tokenizer",
  },
]);
