import type { Shape } from "../../engine/mod.ts";
import type { UNetConfig } from "../unet/config.ts";
import type { VaeConfig } from "../vae/config.ts";

/** A model of a checkpoint, by the name of its folder in the Diffusers layout. */
export type PartName = "text_encoder" | "unet" | "vae";

/** What the names of a part's tensors start with in a single file of the original (LDM) layout. */
export const ldmPrefixes: Readonly<Record<PartName, string>> = {
  text_encoder: "cond_stage_model.transformer.",
  unet: "model.diffusion_model.",
  vae: "first_stage_model.",
};

/** What decides how blocks are numbered in the original layout. */
export interface LdmSizes {
  readonly unet: Pick<UNetConfig, "levels" | "layersPerBlock">;
  readonly vae: Pick<VaeConfig, "widths">;
}

/** Layers outside of blocks, and those inside of a residual block. */
const unetLayers: ReadonlyMap<string, string> = new Map([
  ["conv_in", "input_blocks.0.0"],
  ["time_embedding.linear_1", "time_embed.0"],
  ["time_embedding.linear_2", "time_embed.2"],
  ["conv_norm_out", "out.0"],
  ["conv_out", "out.2"],
]);
const unetResnetLayers: ReadonlyMap<string, string> = new Map([
  ["norm1", "in_layers.0"],
  ["conv1", "in_layers.2"],
  ["time_emb_proj", "emb_layers.1"],
  ["norm2", "out_layers.0"],
  ["conv2", "out_layers.3"],
  ["conv_shortcut", "skip_connection"],
]);
const vaeAttentionLayers: ReadonlyMap<string, string> = new Map([
  ["group_norm", "norm"],
  ["query", "q"],
  ["key", "k"],
  ["value", "v"],
  ["proj_attn", "proj_out"],
]);

/**
 * A tensor's name in the original layout of Stable Diffusion v1, prefix included, from its name in the Diffusers layout.
 *
 * @param key Name inside of the part, the VAE's attention as diffusers before 0.17 names it (`query`, `key`, `value`, `proj_attn`).
 * @param sizes Of any model of this architecture, not SD v1.5 alone.
 * @throws {RangeError} If no model of this architecture has such a tensor.
 * @see scripts/convert_original_stable_diffusion_to_diffusers.py of diffusers, whose names these are.
 * @example
 * ```ts
 * import { equal } from "node:assert/strict";
 * const level = { size: 320, attentionDown: true, attentionUp: true };
 * const sizes = { unet: { levels: [level, level], layersPerBlock: 2 }, vae: { widths: [128, 256] } };
 * equal(ldmKey("unet", "down_blocks.1.resnets.0.conv1.bias", sizes), "model.diffusion_model.input_blocks.4.0.in_layers.2.bias");
 * ```
 */
export function ldmKey(part: PartName, key: string, sizes: LdmSizes): string {
  // transformers' names are the original's.
  if (part === "text_encoder") return ldmPrefixes[part] + key;
  const at = key.lastIndexOf("."), layer = key.slice(0, at), parameter = key.slice(at);
  const found = part === "unet" ? unetLayer(layer, sizes.unet) : vaeLayer(layer, sizes.vae);
  if (found === null) {
    throw new RangeError(`Cannot name ${part}.${key} in the original layout: there is no such tensor`);
  }
  return ldmPrefixes[part] + found + parameter;
}

/** A tensor's shape in the original layout: the VAE's attention has 1×1 convolutions where diffusers has linear layers. */
export function ldmShape(part: PartName, key: string, shape: Shape): Shape {
  const isTurned = part === "vae" && shape.length === 2 && /\.attentions\.\d+\.\w+\.weight$/.test(key);
  return isTurned ? [...shape, 1, 1] : shape;
}

/** Blocks of the way down, of the middle and of the way up are numbered through, samplers included. */
function unetLayer(layer: string, { levels, layersPerBlock }: LdmSizes["unet"]): string | null {
  const outside = unetLayers.get(layer);
  if (outside !== undefined) return outside;
  const match = layer.match(/^(down_blocks|mid_block|up_blocks)\.?(\d*)\.(\w+)\.(\d+)\.(.+)$/);
  if (match === null) return null;
  const [, way, level, kind, index, inner] = match, each = layersPerBlock + 1;
  const isResnet = kind === "resnets";
  if (!isResnet && kind !== "attentions" && !/^(down|up)samplers$/.test(kind)) return null;
  const name = isResnet ? unetResnetLayers.get(inner) : inner;
  if (name === undefined) return null;
  if (way === "mid_block") return `middle_block.${isResnet ? 2 * Number(index) : 1}.${name}`;
  const block = Number(level) * each + Number(index);
  if (kind === "downsamplers") return `input_blocks.${(Number(level) + 1) * each}.0.op`;
  if (kind === "upsamplers") {
    const hasAttention = levels[levels.length - 1 - Number(level)]?.attentionUp;
    return `output_blocks.${block + layersPerBlock}.${hasAttention ? 2 : 1}.conv`;
  }
  const place = isResnet ? 0 : 1;
  return way === "down_blocks"
    ? `input_blocks.${block + 1}.${place}.${name}`
    : `output_blocks.${block}.${place}.${name}`;
}

/** Levels of the decoder are numbered from the picture down, as the encoder's. */
function vaeLayer(layer: string, { widths }: LdmSizes["vae"]): string | null {
  if (layer === "quant_conv" || layer === "post_quant_conv") return layer;
  const [, half, inside] = layer.match(/^(encoder|decoder)\.(.+)$/) ?? [];
  if (half === undefined) return null;
  if (inside === "conv_in" || inside === "conv_out") return layer;
  if (inside === "conv_norm_out") return `${half}.norm_out`;
  const resnet = (name: string) => name === "conv_shortcut" ? "nin_shortcut" : name;
  const mid = inside.match(/^mid_block\.(resnets|attentions)\.(\d+)\.(\w+)$/);
  if (mid) {
    const [, kind, index, name] = mid, inner = kind === "resnets" ? resnet(name) : vaeAttentionLayers.get(name);
    if (inner === undefined) return null;
    return `${half}.mid.${kind === "resnets" ? "block" : "attn"}_${Number(index) + 1}.${inner}`;
  }
  const block = inside.match(/^(down|up)_blocks\.(\d+)\.(resnets|downsamplers|upsamplers)\.(\d+)\.(\w+)$/);
  if (!block) return null;
  const [, way, index, kind, number, name] = block;
  const level = way === "down" ? Number(index) : widths.length - 1 - Number(index);
  if (kind === "resnets") return `${half}.${way}.${level}.block.${number}.${resnet(name)}`;
  return `${half}.${way}.${level}.${way}sample.conv`;
}

/** How later versions of diffusers (from 0.17 on) name the layers of the VAE's attention. */
const laterLayers: ReadonlyMap<string, string> = new Map([
  ["query", "to_q"],
  ["key", "to_k"],
  ["value", "to_v"],
  ["proj_attn", "to_out.0"],
]);

/**
 * A tensor's name in Diffusers folders of later versions, where that differs; else null.
 *
 * @example
 * ```ts
 * import { equal } from "node:assert/strict";
 * equal(laterKey("vae", "encoder.mid_block.attentions.0.query.bias"), "encoder.mid_block.attentions.0.to_q.bias");
 * equal(laterKey("vae", "encoder.conv_in.bias"), null);
 * ```
 */
export function laterKey(part: PartName, key: string): string | null {
  const match = part === "vae" ? key.match(/^(.*\.attentions\.\d+)\.(\w+)\.(weight|bias)$/) : null;
  const later = match && laterLayers.get(match[2]);
  return later ? `${match[1]}.${later}.${match[3]}` : null;
}
