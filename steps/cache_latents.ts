import { LatentCache, latentKey, type Latents } from "../data/latent_cache.ts";
import { readImageBytes } from "../data/image.ts";
import { readLatentFile } from "../data/latent_file.ts";
import { middleCut } from "../data/picture_cut.ts";
import { latentCells } from "../data/resize.ts";
import { prepareTensor } from "../data/prepare_image.ts";
import { type FloatFormat, pooledBytes } from "../engine/mod.ts";
import { type Encoding, type EncodingOptions, planEncoding } from "../models/vae/encoding.ts";
import { buildVae, type EncodedPicture, VaeModel } from "../models/vae_model.ts";
import { defineStep, type DiskUse, type Plan, type StepRun } from "../pipeline/mod.ts";
import { existingBytes } from "./outputs/disk_use.ts";
import { bases, data, latents } from "./things.ts";
import type { LoadedBases, OpenedBases } from "./values/bases.ts";
import { checkOptions } from "./values/check_options.ts";
import { checkCacheable, type LatentWork, latentWork } from "./values/latent_work.ts";
import { type MixedPrecision, storageFormat } from "./values/mixed_precision.ts";
import { LatentStore, type PictureLatents } from "./values/latents.ts";
import type { TrainingData } from "./values/training_data.ts";

/** Options of `cacheLatents`. */
export interface CacheLatentsOptions {
  /** Folder that keeps latents between runs and recipes, also such that run at the same time; without it they live in memory alone. */
  readonly folder?: string;
  /** Pictures that the VAE encodes at once (`--vae_batch_size`); 1 when left out. */
  readonly batchSize?: number;
  /**
   * Bytes of the device's memory that encoding may take, the encoder's weights included. Where the batch does not fit fewer pictures are encoded at
   * once; a picture that does not fit is encoded in overlapping tiles, and its latents differ a little. What the adapter allows when left out.
   */
  readonly maxGpuBytes?: number;
  /**
   * What the VAE's weights and activations are stored in; `no`, f32, when left out, whatever the bases are, as with sd-scripts' `--no_half_vae`: the activations
   * of real VAEs can leave fp16's range, and are then cut off there.
   */
  readonly mixedPrecision?: MixedPrecision;
}

/**
 * Encodes every picture once with the VAE, so that training reads latents instead. The VAE leaves the device when all are encoded.
 *
 * Kept is the mean of each picture's distribution; what sd-scripts draws from it differs by its deviation, see docs/decisions/0006. An
 * entry is found by the hash of picture, size, crop, tiles and VAE, so a change of one of them makes it stale by itself.
 */
export function cacheLatents(options: CacheLatentsOptions = {}) {
  const name = "cache latents";
  checkOptions<CacheLatentsOptions>(name, options, {
    folder: true,
    batchSize: true,
    maxGpuBytes: true,
    mixedPrecision: true,
  });
  const stored = storageFormat("Cannot cache latents", options.mixedPrecision);
  const { batchSize: batch = 1, maxGpuBytes: maxBytes = Infinity } = options;
  for (const [option, value] of Object.entries({ batchSize: batch, maxGpuBytes: options.maxGpuBytes ?? 1 })) {
    if (Number.isSafeInteger(value) && value > 0) continue;
    throw new RangeError(`Cannot cache latents: ${option} is ${value}, must be a whole number above 0`);
  }
  return defineStep({
    name,
    version: 2,
    needs: { bases, data },
    gives: { latents },
    plan: async ({ bases, data }) => ({
      ...planCaching(bases, data, { batch, maxBytes, stored }),
      disk: options.folder === undefined ? [] : await cacheDiskUse(options.folder, latentWork(data)),
    }),
    run: async ({ bases, data }, run) => {
      checkCacheable(data).forEach(run.warn);
      const caching = new Caching(bases, options.folder, { batch, maxBytes, stored }, run);
      return { latents: await caching.encode(latentWork(data)) };
    },
  });
}

interface CachingOptions extends EncodingOptions {
  readonly stored: FloatFormat;
}

function planCaching(bases: OpenedBases, data: TrainingData, options: CachingOptions): Plan {
  const all = latentWork(data),
    work = all.filter(({ image }) => !image.isLatents),
    fromFiles = all.length - work.length;
  const { model, weights } = buildVae(bases.network1.checkpoint, options.stored);
  const encodings = [...bySize(work)].map(([, [{ image: { bucket } }]]) => {
    return { bucket, ...planEncoding(model, bucket, options) };
  });
  const loaded = [...new Set([bases.network1, bases.network2])].flatMap((base) => base.variables);
  const resident = [...loaded, ...weights.all.map(({ variable }) => variable)];
  const peakGpuBytes = pooledBytes(encodings.map(({ program }) => program), resident);
  const inTiles = encodings.flatMap(({ bucket, tile }) => tile ? [tilesText(bucket, tile)] : []);
  return {
    figures: { picturesToEncode: work.length, peakGpuBytes },
    lines: [
      ...checkCacheable(data),
      ...inTiles,
      ...fromFiles > 0 ? [`latents of ${fromFiles} are read from files (.npz), made by whatever VAE made them`] : [],
    ],
    gives: { latents: {} },
  };
}

/** Mean and deviation of each picture's latents in f32, and what else is in its file. */
async function cacheDiskUse(folder: string, work: readonly LatentWork[]): Promise<DiskUse[]> {
  const sizes = work.map(({ image: { bucket: { width, height } } }) =>
    2 * 4 * 4 * latentCells(width) * latentCells(height) + 512
  );
  // Which of those that lie there are found again only their keys tell.
  const sizeBytes = Math.max(0, sizes.reduce((sum, size) => sum + size, 0) - await existingBytes(folder));
  return [{ what: `latents of ${work.length} pictures`, folder, sizeBytes, less: "--cache_latents_to_disk left out" }];
}

interface Size {
  readonly width: number;
  readonly height: number;
}

function tilesText(size: Size, tile: Size): string {
  return `pictures of ${size.width}×${size.height} do not fit the device's memory whole: they are encoded in tiles of ` +
    `${tile.width}×${tile.height}, and their latents differ a little`;
}

/** Work by the size that pictures are encoded at. */
function bySize(work: readonly LatentWork[]): Map<string, LatentWork[]> {
  return Map.groupBy(work, ({ image: { bucket } }) => `${bucket.width}×${bucket.height}`);
}

/** A picture that is not in the cache. */
interface Missing {
  readonly work: LatentWork;
  readonly key: string;
  readonly picture: Float32Array;
}

/** One run of the step: looks pictures up, and encodes those that are not there. */
class Caching {
  private readonly store = new LatentStore();
  private readonly cache: LatentCache;
  private vae: VaeModel | null = null;

  constructor(
    private readonly bases: LoadedBases,
    private readonly folder: string | undefined,
    private readonly options: CachingOptions,
    private readonly run: StepRun,
  ) {
    this.cache = new LatentCache({
      ...(folder === undefined ? {} : { folder }),
      onEvent: (event) => {
        if (event.kind === "damaged") run.warn(`${event.path} is damaged and made anew: ${event.reason}`);
      },
    });
  }

  async encode(work: readonly LatentWork[]): Promise<LatentStore> {
    const { stored } = this.options, { checkpoint } = this.bases.network1;
    const contentHash = await VaeModel.contentHash(checkpoint), { model } = buildVae(checkpoint, stored);
    const vaeHash = stored === "f32" ? contentHash : `${contentHash} ${stored}`;
    let done = 0;
    for (const each of work) if (each.image.isLatents) await this.keepFile(each);
    const pictures = work.filter(({ image }) => !image.isLatents);
    const progress = () => this.run.progress({ done, total: pictures.length, unit: "pictures" });
    try {
      for (const group of bySize(pictures).values()) {
        const { bucket } = group[0].image, missing: Missing[] = [];
        let encoding: Encoding | null = null;
        // Planned before any weights are loaded: with all pictures found they are not needed.
        const { tile } = planEncoding(model, bucket, { ...this.options, limits: this.bases.device.facts });
        if (tile) this.run.warn(tilesText(bucket, tile));
        for (const [at, work] of group.entries()) {
          this.run.signal.throwIfAborted();
          progress();
          const { image, isFlipped } = work, { path, resized } = image, cut = middleCut(resized, bucket);
          const imageBytes = await readImageBytes(path);
          const key = latentKey({ imageBytes, cut, isFlipped, vaeHash, tile }), found = await this.cache.get(key);
          if (found) {
            this.keep(work, key, found);
            done++;
          } else {
            missing.push({ work, key, picture: await prepareTensor(imageBytes, path, { cut, isFlipped }) });
          }
          if (missing.length === 0) continue;
          encoding ??= await this.planFor(bucket);
          if (missing.length < encoding.batch && at < group.length - 1) continue;
          await this.encodeTogether(missing, bucket, encoding);
          done += missing.splice(0).length;
        }
      }
      progress();
      return this.store;
    } finally {
      this.vae?.free();
    }
  }

  private async planFor(size: Size): Promise<Encoding> {
    this.vae ??= await VaeModel.load(this.bases.network1.checkpoint, this.bases.device, this.options.stored);
    return this.vae.planEncoding(size, this.options);
  }

  private async encodeTogether(missing: readonly Missing[], size: Size, encoding: Encoding): Promise<void> {
    const encoded = await this.vae!.encode(missing.map(({ picture }) => picture), size, encoding);
    for (const [i, { work, key }] of missing.entries()) {
      const latents = this.latentsOf(work, encoded[i]);
      await this.cache.put(key, latents);
      this.keep(work, key, latents);
    }
  }

  private latentsOf({ image: { path, bucket } }: LatentWork, { mean, logvar }: EncodedPicture): Latents {
    if (![mean, logvar].every((values) => values.every(Number.isFinite))) {
      throw new Error(`Cannot cache latents: the VAE makes NaN of ${path}`);
    }
    const shape = [latentCells(bucket.height), latentCells(bucket.width), 4];
    return { mean: { shape, values: Float32Array.from(mean) }, logvar: { shape, values: Float32Array.from(logvar) } };
  }

  /** Latents of sd-scripts' making: looked at once, so that a wrong file is told before training, and read when they are needed. */
  private async keepFile({ image, isFlipped }: LatentWork): Promise<void> {
    const { path, bucket } = image,
      read = async (): Promise<PictureLatents> => {
        const { shape: [height, width], values } = await readLatentFile(path, isFlipped);
        return { height, width, values };
      };
    const { height, width, values } = await read();
    const rows = latentCells(bucket.height), columns = latentCells(bucket.width);
    if (height !== rows || width !== columns) {
      throw new Error(
        `Cannot train: the latents ${path} are ${width}×${height} cells, expected ${columns}×${rows} for a picture of ` +
          `${bucket.width}×${bucket.height}: make them again, or put the picture beside them`,
      );
    }
    if (!values.every(Number.isFinite)) {
      throw new Error(`Cannot train: the latents ${path} have NaN or infinite numbers`);
    }
    this.store.set(image, isFlipped, read);
  }

  /** Latents that are on the disk are read again when a step needs them: those of a large data set would not fit in memory. */
  private keep({ image, isFlipped }: LatentWork, key: string, latents: Latents): void {
    const { cache, folder } = this, { path } = image;
    this.store.set(
      image,
      isFlipped,
      folder === undefined ? meanOf(latents) : async () => {
        const found = await cache.get(key);
        if (found) return meanOf(found);
        throw new Error(
          `Cannot train: the cached latents of ${path} are gone from ${folder}, or damaged; start again, and they are made anew`,
        );
      },
    );
  }
}

function meanOf({ mean: { shape: [height, width], values } }: Latents): PictureLatents {
  return { height, width, values };
}
