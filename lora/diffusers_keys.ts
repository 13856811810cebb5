/** Names of modules on the way to a layer; a name that begins with another one comes before it. With them a layer's path can be found in kohya's name. */
const segments = new RegExp(
  `^(?:${
    [
      ...[
        "text_model",
        "self_attn",
        "q_proj",
        "k_proj",
        "v_proj",
        "out_proj",
        "encoder",
        "layers",
        "mlp",
        "fc1",
        "fc2",
      ],
      ...["down_blocks", "up_blocks", "mid_block", "attentions", "resnets", "downsamplers", "upsamplers"],
      ...["transformer_blocks", "proj_in", "proj_out", "attn1", "attn2", "to_q", "to_k", "to_v", "to_out"],
      ...["ff", "net", "proj", "conv1", "conv2", "conv_shortcut", "conv", "time_emb_proj", "\\d+"],
    ].join("|")
  })(?=_|$)`,
);

const parts = { lora_te_: "text_encoder.", lora_unet_: "unet." } as const;

/**
 * A layer's path in diffusers' LoRA files, from kohya's name of its module; null where Stable Diffusion v1 has no such layer.
 *
 * @example
 * ```ts
 * import { equal } from "node:assert/strict";
 * equal(diffusersPath("lora_unet_mid_block_resnets_0_time_emb_proj"), "unet.mid_block.resnets.0.time_emb_proj");
 * ```
 */
export function diffusersPath(module: string): string | null {
  for (const [start, part] of Object.entries(parts)) {
    if (!module.startsWith(start)) continue;
    const path: string[] = [];
    let left = module.slice(start.length);
    while (left !== "") {
      const found = segments.exec(left);
      if (!found) return null;
      path.push(found[0]);
      left = left.slice(found[0].length + 1);
    }
    return path.length ? part + path.join(".") : null;
  }
  return null;
}

/** kohya's name of a module, from its layer's path in diffusers' files; null where {@linkcode diffusersPath} would not lead back. */
export function kohyaName(path: string): string | null {
  const found = Object.entries(parts).find(([, part]) => path.startsWith(part));
  if (!found) return null;
  const [start, part] = found, name = start + path.slice(part.length).replaceAll(".", "_");
  return diffusersPath(name) === path ? name : null;
}
