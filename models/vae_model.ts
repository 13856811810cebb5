import { createHash } from "node:crypto";
import { type CompiledProgram, type Device, type FloatFormat, type Program, SlotPool } from "../engine/mod.ts";
import type { Checkpoint } from "./checkpoint/checkpoint.ts";
import { OpenedPart, readElements } from "./checkpoint/opened_part.ts";
import type { PartFiles } from "./checkpoint/part_files.ts";
import { ConfigReader } from "./config_reader.ts";
import { fillWeightsByRule, loadWeights } from "./load.ts";
import { Source } from "./source.ts";
import { AutoencoderKL } from "./vae/autoencoder_kl.ts";
import { readVaeConfig, vaeFactor } from "./vae/config.ts";
import { decodedTogether, planDecoding } from "./vae/decoding.ts";
import { type Encoding, type EncodingOptions, planEncoding } from "./vae/encoding.ts";
import { blendTiles, type PictureSize, type Tile, tilesOf } from "./vae/tiles.ts";
import { Weights } from "./weights.ts";

/** What the VAE makes of a picture: `mean` and `logvar`, each `[height / 8, width / 8, 4]`. */
export interface EncodedPicture {
  readonly mean: Float32Array;
  readonly logvar: Float32Array;
}

/**
 * The VAE of a base model, ready to encode and decode pictures. Its weights and activations are f32 unless told otherwise: those of real checkpoints
 * can leave f16's range.
 */
export class VaeModel {
  private readonly programs = new Map<string, Promise<CompiledProgram>>();
  private readonly compiled: CompiledProgram[] = [];
  /** Programs for pictures of different sizes take turns. */
  private readonly pool: SlotPool;

  private constructor(
    private readonly device: Device,
    private readonly model: AutoencoderKL,
    private readonly weights: Weights,
  ) {
    this.pool = new SlotPool(device);
  }

  /**
   * Reads a checkpoint's VAE and puts it on the device.
   *
   * @param stored What weights and activations are stored in.
   * @throws {Error} If it has none, or a file is missing or unsound, naming it.
   */
  static async load(checkpoint: Checkpoint, device: Device, stored: FloatFormat = "f32"): Promise<VaeModel> {
    const { part, model, weights } = buildVae(checkpoint, stored);
    await loadWeights(device, weights, part);
    return new VaeModel(device, model, weights);
  }

  /** As `load`, with weights by rule: for checks without a checkpoint, of which only the VAE's configuration counts. */
  static async loadByRule(
    checkpoint: Checkpoint,
    device: Device,
    salt: number,
    stored: FloatFormat = "f32",
  ): Promise<VaeModel> {
    const { model, weights } = buildVae(checkpoint, stored);
    await fillWeightsByRule(device, weights, { salt });
    return new VaeModel(device, model, weights);
  }

  /**
   * SHA-256 of all that decides what a checkpoint's VAE computes: equal for equal numbers, in whatever kind of file they are.
   *
   * @throws {Error} As `load`.
   */
  static async contentHash(checkpoint: Checkpoint): Promise<string> {
    const { part, model, weights } = buildVae(checkpoint), { scalingFactor: _, ...config } = model.config;
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
   * How pictures of a size are encoded on this device.
   *
   * @throws {RangeError} If not even tiles fit.
   */
  planEncoding(size: PictureSize, options: Omit<EncodingOptions, "limits"> = {}): Encoding {
    return planEncoding(this.model, size, { ...options, limits: this.device.facts });
  }

  /**
   * The distribution of each picture's latents.
   *
   * @param pictures Each `[height, width, 3]`, RGB in −1…1, all of one size.
   * @param encoding How, as `planEncoding` gave it for this size; all at once if they fit, when left out.
   */
  async encode(
    pictures: readonly Float32Array[],
    size: PictureSize,
    encoding: Encoding = this.planEncoding(size, { batch: pictures.length }),
  ): Promise<EncodedPicture[]> {
    const { batch, tile } = encoding, encoded: EncodedPicture[] = [];
    if (tile !== null) {
      for (const picture of pictures) encoded.push(await this.encodeInTiles(picture, size, tile, encoding.program));
      return encoded;
    }
    for (let at = 0; at < pictures.length; at += batch) {
      const part = pictures.slice(at, at + batch);
      const { program } = part.length === batch ? encoding : this.planEncoding(size, { batch: part.length });
      encoded.push(...await this.encodeTogether(part, size, program));
    }
    return encoded;
  }

  private async encodeTogether(
    pictures: readonly Float32Array[],
    { height, width }: PictureSize,
    program: Program,
  ): Promise<EncodedPicture[]> {
    const compiled = await this.program(`encode ${[pictures.length, height, width]}`, () => program);
    compiled.run({ pictures: joined(pictures) });
    const { mean, logvar } = await compiled.read("mean", "logvar"), each = mean.length / pictures.length;
    return pictures.map((_, i) => ({
      mean: mean.slice(i * each, (i + 1) * each) as Float32Array,
      logvar: logvar.slice(i * each, (i + 1) * each) as Float32Array,
    }));
  }

  private async encodeInTiles(
    picture: Float32Array,
    size: PictureSize,
    tile: PictureSize,
    program: Program,
  ): Promise<EncodedPicture> {
    const { factor } = this,
      inCells = ({ height, width }: PictureSize) => {
        return { height: Math.floor(height / factor), width: Math.floor(width / factor) };
      };
    const cells = inCells(size), tiles = tilesOf(cells, inCells(tile)), encoded: EncodedPicture[] = [];
    for (const each of tiles) {
      const pixels = cut(picture, size.width, scaled(each, factor), 3);
      encoded.push(...await this.encodeTogether([pixels], tile, program));
    }
    return {
      mean: blendTiles(tiles, encoded.map(({ mean }) => mean), cells),
      logvar: blendTiles(tiles, encoded.map(({ logvar }) => logvar), cells),
    };
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
    const { model } = this, { scalingFactor } = model.config, decoded: Uint8Array<ArrayBuffer>[] = [];
    const unscaled = latents.map((each) => each.map((value) => value / scalingFactor));
    const planned = (batch: number) => planDecoding(model, size, { batch, limits: this.device.facts });
    const together = Math.min(latents.length, decodedTogether(model, size)),
      { batch, tile, program } = planned(together);
    for (let at = 0; at < latents.length; at += batch) {
      const part = unscaled.slice(at, at + batch);
      const pictures = tile
        ? [await this.decodeInTiles(part[0], size, tile, program)]
        : await this.decodeTogether(part, size, () => part.length === batch ? program : planned(part.length).program);
      for (const picture of pictures) {
        decoded.push(Uint8Array.from(picture, (v) => Math.round(Math.min(1, Math.max(0, v / 2 + 0.5)) * 255)));
      }
    }
    return decoded;
  }

  private async decodeTogether(
    latents: readonly Float32Array[],
    { height, width }: PictureSize,
    program: () => Program,
  ): Promise<Float32Array[]> {
    const compiled = await this.program(`decode ${[latents.length, height, width]}`, program);
    compiled.run({ latents: joined(latents) });
    const { pictures } = await compiled.read("pictures"), each = pictures.length / latents.length;
    return latents.map((_, i) => pictures.subarray(i * each, (i + 1) * each) as Float32Array);
  }

  private async decodeInTiles(
    latents: Float32Array,
    size: PictureSize,
    tile: PictureSize,
    program: Program,
  ): Promise<Float32Array> {
    const { factor, model } = this, tiles = tilesOf(size, tile), pictures: Float32Array[] = [];
    for (const each of tiles) {
      const cells = cut(latents, size.width, each, model.config.latentSize);
      pictures.push(...await this.decodeTogether([cells], tile, () => program));
    }
    return blendTiles(
      tiles.map((each) => scaled(each, factor)),
      pictures,
      scaled({ top: 0, left: 0, ...size }, factor),
    );
  }

  /** Frees programs and weights; nothing may be on its way. */
  free(): void {
    for (const program of this.compiled.splice(0)) this.device.release(program);
    this.programs.clear();
    this.pool.dispose();
    this.device.free(this.weights.all.map((spec) => spec.variable));
  }

  /** Compiled once, also where several ask for it at the same time. */
  private program(key: string, planned: () => Program): Promise<CompiledProgram> {
    let program = this.programs.get(key);
    if (!program) this.programs.set(key, program = this.compile(planned()));
    return program;
  }

  private async compile(program: Program): Promise<CompiledProgram> {
    // Real VAEs' activations are too large for products in f16, even where they are stored in it.
    const compiled = await this.device.compile(program, { pool: this.pool, f16Arithmetic: false });
    this.compiled.push(compiled);
    return compiled;
  }
}

/**
 * A checkpoint's VAE as a model whose weights are still to be loaded: enough to plan with.
 *
 * @throws {Error} If it has none, or a configuration that is not supported.
 */
export function buildVae(
  { name, vae: part }: Checkpoint,
  stored: FloatFormat = "f32",
): { part: PartFiles; weights: Weights; model: AutoencoderKL } {
  if (part === null) throw new Error(`Cannot load the VAE of ${name}: it has none; name one with the option vae`);
  const weights = new Weights("vae", stored);
  const config = readVaeConfig(new ConfigReader(part.config.file, part.config.json));
  return { part, weights, model: new AutoencoderKL(new Source(weights), config, stored) };
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

/** A tile's elements, out of a picture's `[height, width, channels]`. */
function cut(values: Float32Array, width: number, tile: Tile, channels: number): Float32Array {
  const rowLength = tile.width * channels, part = new Float32Array(tile.height * rowLength);
  for (let row = 0; row < tile.height; row++) {
    const start = ((tile.top + row) * width + tile.left) * channels;
    part.set(values.subarray(start, start + rowLength), row * rowLength);
  }
  return part;
}

/** A tile of latent cells in pixels. */
function scaled({ top, left, height, width }: Tile, factor: number): Tile {
  return { top: top * factor, left: left * factor, height: height * factor, width: width * factor };
}
