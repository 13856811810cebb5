import type { ConfigReader } from "../config_reader.ts";

/** One level of the UNet, from full size down. */
export interface UNetLevel {
  /** Channels. */
  readonly size: number;
  /** The way down has transformers at this level. */
  readonly attentionDown: boolean;
  /** The way up has transformers at this level. */
  readonly attentionUp: boolean;
}

/** What a UNet is built from: `unet/config.json` in this project's words. */
export interface UNetConfig {
  readonly levels: readonly UNetLevel[];
  /** Residual blocks of a level on the way down; the way up has one more. */
  readonly layersPerBlock: number;
  /** Channels of a latent. */
  readonly latentSize: number;
  /** Width of the prompt's states. */
  readonly contextSize: number;
  /** Heads of every attention, whatever its width. */
  readonly heads: number;
  /** Groups of every group norm. */
  readonly groups: number;
  /** Epsilon of the residual blocks' norms and the last norm. */
  readonly epsilon: number;
  /** How timesteps become sines and cosines. */
  readonly waves: { readonly flipSinToCos: boolean; readonly frequencyShift: number };
}

/**
 * Reads a UNet's options.
 *
 * @throws {RangeError | TypeError} If an option is missing or not supported: file, option, found, supported.
 */
export function readUNetConfig(reader: ConfigReader): UNetConfig {
  const widths = reader.counts("block_out_channels");
  const down = reader.choices("down_block_types", ["CrossAttnDownBlock2D", "DownBlock2D"], widths.length);
  const up = reader.choices("up_block_types", ["UpBlock2D", "CrossAttnUpBlock2D"], widths.length).toReversed();
  // In diffusers 0.10.2 this option is the number of heads, and later versions keep it so for such files.
  const heads = reader.count("attention_head_dim");
  const groups = reader.count("norm_num_groups");
  for (const width of widths) {
    if (width % groups !== 0) reader.fail("block_out_channels", width, `multiples of norm_num_groups, ${groups}`);
    if (width % heads !== 0) reader.fail("block_out_channels", width, `multiples of attention_head_dim, ${heads}`);
  }
  reader.only("in_channels", [4]);
  reader.only("out_channels", [4]);
  reader.only("act_fn", ["silu"]);
  reader.only("center_input_sample", [false]);
  reader.only("downsample_padding", [1]);
  reader.only("mid_block_scale_factor", [1]);
  reader.only("mid_block_type", ["UNetMidBlock2DCrossAttn"]);
  reader.only("use_linear_projection", [false]);
  reader.only("dual_cross_attention", [false]);
  reader.only("only_cross_attention", [false]);
  reader.only("num_class_embeds", []);
  reader.only("class_embed_type", []);
  reader.only("resnet_time_scale_shift", ["default"]);
  reader.only("resnet_out_scale_factor", [1]);
  reader.only("time_embedding_type", ["positional"]);
  reader.only("transformer_layers_per_block", [1]);
  reader.only("attention_type", ["default"]);
  reader.only("conv_in_kernel", [3]);
  reader.only("conv_out_kernel", [3]);
  reader.only("dropout", [0]);
  reader.only("num_attention_heads", []);
  // Only read together with options that are refused above; or only how precisely another program computes.
  reader.ignore("sample_size", "addition_embed_type_num_heads", "upcast_attention");
  const config: UNetConfig = {
    levels: widths.map((size, level) => ({
      size,
      attentionDown: down[level] === "CrossAttnDownBlock2D",
      attentionUp: up[level] === "CrossAttnUpBlock2D",
    })),
    layersPerBlock: reader.count("layers_per_block", 64),
    latentSize: 4,
    contextSize: reader.count("cross_attention_dim"),
    heads,
    groups,
    epsilon: reader.number("norm_eps", 1e-5),
    waves: {
      flipSinToCos: reader.boolean("flip_sin_to_cos", true),
      frequencyShift: reader.number("freq_shift", 0),
    },
  };
  reader.finish();
  return config;
}
