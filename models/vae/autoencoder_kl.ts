import {
  add,
  clamp,
  exp,
  type FloatFormat,
  multiply,
  scale,
  slice,
  storingActivations,
  type Tensor,
} from "../../engine/mod.ts";
import { Conv2d } from "../layers/conv2d.ts";
import type { Source } from "../source.ts";
import { type VaeConfig, vaeFactor } from "./config.ts";
import { Decoder } from "./decoder.ts";
import { Encoder } from "./encoder.ts";

/** A normal distribution of latents, each element by itself. */
export interface Posterior {
  /** `[batch, ⌊height / 8⌋, ⌊width / 8⌋, 4]` */
  readonly mean: Tensor;
  /** Logarithm of the variance, from −30 to 20; of the mean's shape. */
  readonly logvar: Tensor;
}

/** Pictures to latents and back. diffusers' `AutoencoderKL`. */
export class AutoencoderKL {
  private readonly encoder: Encoder;
  private readonly decoder: Decoder;
  private readonly quantConv: Conv2d;
  private readonly postQuantConv: Conv2d;

  /** @param stored What activations are stored in; f32 when left out. */
  constructor(
    private readonly source: Source,
    readonly config: VaeConfig,
    private readonly stored: FloatFormat = "f32",
  ) {
    const { latentSize } = config;
    this.encoder = new Encoder(source.at("encoder"), config);
    this.decoder = new Decoder(source.at("decoder"), config);
    const moments = { inSize: 2 * latentSize, outSize: 2 * latentSize };
    this.quantConv = new Conv2d(source.at("quant_conv"), { ...moments, kernel: 1 });
    const latent = { inSize: latentSize, outSize: latentSize };
    this.postQuantConv = new Conv2d(source.at("post_quant_conv"), { ...latent, kernel: 1 });
  }

  /**
   * The distribution of a picture's latents.
   *
   * @param image `[batch, height, width, 3]`, RGB in −1…1; height and width from 8 on for SD v1.5; each halving leaves an odd row or column out.
   * @throws {RangeError} If nothing would be left of height or width.
   */
  encode(image: Tensor): Posterior {
    const { latentSize } = this.config, factor = vaeFactor(this.config), [, height, width] = image.shape;
    if (height < factor || width < factor) {
      throw new RangeError(
        `Cannot encode pictures of ${height}x${width} pixels: height and width must be ${factor} at least`,
      );
    }
    return this.source.scoped(() => {
      const encoded = storingActivations(this.stored, () => this.encoder.forward(image));
      const moments = this.quantConv.forward(encoded);
      const mean = slice(moments, { axis: 3, start: 0, length: latentSize });
      const logvar = slice(moments, { axis: 3, start: latentSize, length: latentSize });
      return { mean, logvar: clamp(logvar, { low: -30, high: 20 }) };
    });
  }

  /**
   * Draws latents: `(mean + exp(logvar / 2) · noise) · scalingFactor`.
   *
   * @param noise Standard normal, of the mean's shape.
   * @returns Latents as the UNet wants them.
   */
  sample({ mean, logvar }: Posterior, noise: Tensor): Tensor {
    return this.source.scoped(() => {
      const deviation = exp(scale(logvar, { factor: 0.5 }));
      return scale(add(mean, multiply(deviation, noise)), { factor: this.config.scalingFactor });
    });
  }

  /**
   * The picture of latents as they come from `encode`; those of the UNet must be divided by `scalingFactor` first.
   *
   * @param latent `[batch, height, width, 4]`
   * @returns `[batch, 8 height, 8 width, 3]`, RGB, −1…1 but not clipped.
   */
  decode(latent: Tensor): Tensor {
    return this.source.scoped(() =>
      storingActivations(this.stored, () => this.decoder.forward(this.postQuantConv.forward(latent)))
    );
  }
}
