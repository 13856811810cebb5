import type { Sample } from "../../data/dataset.ts";
import type { FloatFormat } from "../../engine/mod.ts";
import { readImageBytes } from "../../data/image.ts";
import { prepareTensor } from "../../data/prepare_image.ts";
import { type ImageSize, latentCells } from "../../data/resize.ts";
import type { Encoding } from "../../models/vae/encoding.ts";
import { VaeModel } from "../../models/vae_model.ts";
import { RandomStream } from "../../random/philox.ts";
import type { LoadedBases } from "./bases.ts";
import type { LatentProvider, OpenedLatents, PictureLatents } from "./latents.ts";

/** Encodes pictures as they are shown: cut, coloured and mirrored anew each time. The VAE stays on the device. */
export class LiveLatents implements LatentProvider {
  constructor(private readonly stored: FloatFormat) {}

  async open({ network1: { checkpoint }, device }: LoadedBases): Promise<OpenedLatents> {
    return new LiveEncoder(await VaeModel.load(checkpoint, device, this.stored));
  }
}

class LiveEncoder implements OpenedLatents {
  /** How pictures of each size are encoded: planned once, not at every picture. */
  private readonly encodings = new Map<string, Encoding>();

  constructor(private readonly vae: VaeModel) {}

  async get(samples: readonly Sample[]): Promise<PictureLatents[]> {
    const pictures: Float32Array[] = [];
    // All before the first is encoded: the device may be busy with a step, and reading back waits for that.
    for (const sample of samples) {
      const { image: { path } } = sample;
      pictures.push(await prepareTensor(await readImageBytes(path), path, sample));
    }
    return await Promise.all(samples.map((sample, i) => this.encode(sample, pictures[i])));
  }

  [Symbol.dispose](): void {
    this.vae.free();
  }

  /** As sd-scripts without a cache: a draw from the distribution; keyed, so that the same sample is drawn alike. */
  private async encode(
    { image: { path }, cut: { size }, draw }: Sample,
    picture: Float32Array,
  ): Promise<PictureLatents> {
    const [{ mean, logvar }] = await this.vae.encode([picture], size, this.encoding(size));
    if (!mean.every(Number.isFinite)) throw new Error(`Cannot train: the VAE makes NaN of ${path}`);
    const noise = draw === null ? null : new RandomStream(draw).nextNormals(mean.length);
    const values = noise === null ? mean : mean.map((value, at) => value + Math.exp(logvar[at] / 2) * noise[at]);
    return { height: latentCells(size.height), width: latentCells(size.width), values };
  }

  private encoding(size: ImageSize): Encoding {
    const key = `${size.width} ${size.height}`;
    let encoding = this.encodings.get(key);
    if (!encoding) this.encodings.set(key, encoding = this.vae.planEncoding(size));
    return encoding;
  }
}
