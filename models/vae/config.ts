import type { ConfigReader } from "../config_reader.ts";

/** What a VAE is built from: `vae/config.json` in this project's words. */
export interface VaeConfig {
  /** Channels of each level, from the picture down; each but the last halves height and width. */
  readonly widths: readonly number[];
  /** Residual blocks of a level on the way down; the way up has one more. */
  readonly layersPerBlock: number;
  /** Groups of every group norm. */
  readonly groups: number;
  /** Channels of a latent. */
  readonly latentSize: number;
  /** Factor that brings latents to a standard deviation near 1, as the UNet wants them. */
  readonly scalingFactor: number;
}

/**
 * Reads a VAE's options.
 *
 * @throws {RangeError | TypeError} If an option is missing or not supported: file, option, found, supported.
 */
export function readVaeConfig(reader: ConfigReader): VaeConfig {
  const widths = reader.counts("block_out_channels");
  const groups = reader.count("norm_num_groups");
  for (const width of widths) {
    if (width % groups !== 0) reader.fail("block_out_channels", width, `multiples of norm_num_groups, ${groups}`);
  }
  reader.choices("down_block_types", ["DownEncoderBlock2D"], widths.length);
  reader.choices("up_block_types", ["UpDecoderBlock2D"], widths.length);
  reader.only("in_channels", [3]);
  reader.only("out_channels", [3]);
  reader.only("latent_channels", [4]);
  reader.only("act_fn", ["silu"]);
  reader.only("use_quant_conv", [true]);
  reader.only("use_post_quant_conv", [true]);
  reader.only("mid_block_add_attention", [true]);
  // The size the model was trained at, and how precisely another program computes.
  reader.ignore("sample_size", "force_upcast");
  const config: VaeConfig = {
    widths,
    layersPerBlock: reader.count("layers_per_block", 64),
    groups,
    latentSize: 4,
    scalingFactor: reader.number("scaling_factor", 0.18215),
  };
  reader.finish();
  return config;
}

/** Pixels along one side of a latent's cell: 8 for SD v1.5. */
export function vaeFactor(config: VaeConfig): number {
  return 2 ** (config.widths.length - 1);
}
