import { createHash } from "node:crypto";
import { type CompiledProgram, type Device, input, plan } from "../engine/mod.ts";
import type { Checkpoint } from "./checkpoint/checkpoint.ts";
import { OpenedPart, readElements } from "./checkpoint/opened_part.ts";
import { ConfigReader } from "./config_reader.ts";
import { loadWeights } from "./load.ts";
import { Source } from "./source.ts";
import { AutoencoderKL, type Posterior } from "./vae/autoencoder_kl.ts";
import { readVaeConfig, vaeFactor } from "./vae/config.ts";
import { Weights } from "./weights.ts";

/** Pixels of pictures that are decoded in one go: eight of 128×128. */
const decodedPixels = 8 * 128 ** 2;

/** The VAE of a base model, ready to encode and decode pictures; always in f32, where real checkpoints overflow in f16. */
export class VaeModel {
  private readonly programs = new Map<string, CompiledProgram>();

  private constructor(
    private readonly device: Device,
    private readonly model: AutoencoderKL,
    private readonly weights: Weights,
  ) {}

  /**
   * Reads a checkpoint's VAE and puts it on the device.
   *
   * @throws {Error} If it has none, or a file is missing or unsound, naming it.
   */
  static async load(checkpoint: Checkpoint, device: Device): Promise<VaeModel> {
    const { part, model, weights } = build(checkpoint);
    await loadWeights(device, weights, part);
    return new VaeModel(device, model, weights);
  }

  /**
   * SHA-256 of all that decides what a checkpoint's VAE computes: equal for equal numbers, in whatever kind of file they are.
   *
   * @throws {Error} As `load`.
   */
  static async contentHash(checkpoint: Checkpoint): Promise<string> {
    const { part, model, weights } = build(checkpoint), { scalingFactor: _, ...config } = model.config;
    await using opened = await OpenedPart.open(part);
    const hash = createHash("sha256").update(JSON.stringify(config));
    for (const [{ key, shape }, stored] of opened.find(weights)) {
      const { buffer, byteOffset, byteLength } = Float32Array.from(await readElements(stored));
      hash.update(`${key} ${shape}`).update(new Uint8Array(buffer, byteOffset, byteLength));
    }
    return hash.digest("hex");
  }

  /** Picture pixels a latent cell stands for, along each axis. */
  get factor(): number {
    return vaeFactor(this.model.config);
  }

  /**
   * The mean of each picture's latents, or a draw when noise is given.
   *
   * @param pictures Each `[height, width, 3]`, RGB in −1…1, all of one size.
   * @returns `mean` and `logvar` of each, `[height / 8, width / 8, 4]`, as the VAE gives them.
   */
  async encode(
    pictures: readonly Float32Array[],
    size: { width: number; height: number },
  ): Promise<{ mean: Float32Array; logvar: Float32Array }[]> {
    const shape = [pictures.length, size.height, size.width, 3];
    const program = await this.program(`encode ${shape}`, () => {
      const { mean, logvar }: Posterior = this.model.encode(input("pictures", shape));
      return { mean, logvar };
    });
    program.run({ pictures: joined(pictures) });
    const { mean, logvar } = await program.read("mean", "logvar");
    const each = mean.length / pictures.length;
    return pictures.map((_, i) => ({
      mean: mean.slice(i * each, (i + 1) * each) as Float32Array,
      logvar: logvar.slice(i * each, (i + 1) * each) as Float32Array,
    }));
  }

  /**
   * Pictures of latents.
   *
   * @param latents Each `[height, width, 4]`, as the UNet has them (scaled), all of one size.
   * @returns Each `[8 height, 8 width, 3]` bytes, RGB.
   */
  async decode(
    latents: readonly Float32Array[],
    size: { width: number; height: number },
  ): Promise<Uint8Array<ArrayBuffer>[]> {
    const { scalingFactor } = this.model.config, pixels = size.height * size.width * this.factor ** 2;
    // Full-size pictures take hundreds of megabytes each on their way, so only small ones are decoded together.
    const together = Math.max(1, Math.floor(decodedPixels / pixels)), decoded: Uint8Array<ArrayBuffer>[] = [];
    for (let at = 0; at < latents.length; at += together) {
      const part = latents.slice(at, at + together), shape = [part.length, size.height, size.width, 4];
      const program = await this.program(
        `decode ${shape}`,
        () => ({ pictures: this.model.decode(input("latents", shape)) }),
      );
      program.run({ latents: joined(part).map((value) => value / scalingFactor) });
      const { pictures } = await program.read("pictures"), each = pictures.length / part.length;
      for (let i = 0; i < part.length; i++) {
        const values = pictures.subarray(i * each, (i + 1) * each);
        decoded.push(Uint8Array.from(values, (v) => Math.round(Math.min(1, Math.max(0, v / 2 + 0.5)) * 255)));
      }
    }
    return decoded;
  }

  /** Frees programs and weights. */
  free(): void {
    for (const program of this.programs.values()) this.device.release(program);
    this.programs.clear();
    this.device.free(this.weights.all.map((spec) => spec.variable));
  }

  private async program(key: string, trace: () => Parameters<typeof plan>[0]["outputs"]): Promise<CompiledProgram> {
    let program = this.programs.get(key);
    if (!program) {
      program = await this.device.compile(plan({ outputs: trace() }));
      this.programs.set(key, program);
    }
    return program;
  }
}

/** A checkpoint's VAE as a model whose weights are still to be loaded. */
function build({ name, vae: part }: Checkpoint) {
  if (part === null) throw new Error(`Cannot load the VAE of ${name}: it has none; name one with the option vae`);
  const weights = new Weights("vae");
  const config = readVaeConfig(new ConfigReader(part.config.file, part.config.json));
  return { part, weights, model: new AutoencoderKL(new Source(weights), config) };
}

function joined(parts: readonly Float32Array[]): Float32Array {
  const result = new Float32Array(parts.reduce((total, part) => total + part.length, 0));
  let at = 0;
  for (const part of parts) {
    result.set(part, at);
    at += part.length;
  }
  return result;
}
