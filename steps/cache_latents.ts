import { readImageBytes } from "../data/image.ts";
import { LatentCache, latentKey, type LatentTensor } from "../data/latent_cache.ts";
import { middleCut } from "../data/picture_cut.ts";
import { prepareTensor } from "../data/prepare_image.ts";
import { VaeModel } from "../models/vae_model.ts";
import { defineStep, type StepRun } from "../pipeline/mod.ts";
import { bases, data, latents } from "./things.ts";
import type { LoadedBases } from "./values/bases.ts";
import { checkOptions } from "./values/check_options.ts";
import { checkCacheable, latentWork } from "./values/latent_work.ts";
import { LatentStore } from "./values/latents.ts";
import type { TrainingData } from "./values/training_data.ts";

/** Options of `cacheLatents`. */
export interface CacheLatentsOptions {
  /** Folder that keeps latents between runs and recipes; without it they live in memory alone. */
  readonly folder?: string;
}

/**
 * Encodes every picture once with the VAE, so that training reads latents instead.
 *
 * Kept is the mean of each picture's distribution; what sd-scripts draws from it differs by its deviation, see docs/decisions/0006. An
 * entry is found by the hash of picture, size, crop and VAE, so a change of one of them makes it stale by itself.
 */
export function cacheLatents(options: CacheLatentsOptions = {}) {
  const name = "cache latents";
  checkOptions<CacheLatentsOptions>(name, options, { folder: true });
  return defineStep({
    name,
    version: 2,
    needs: { bases, data },
    gives: { latents },
    plan: ({ data }) => {
      const count = latentWork(data).length;
      return { figures: { picturesToEncode: count }, lines: checkCacheable(data), gives: { latents: { count } } };
    },
    run: async ({ bases, data }, run) => {
      checkCacheable(data).forEach(run.warn);
      return { latents: await encodeAll(bases, data, options.folder, run) };
    },
  });
}

async function encodeAll(
  bases: LoadedBases,
  data: TrainingData,
  folder: string | undefined,
  run: StepRun,
): Promise<LatentStore> {
  const store = new LatentStore(), work = latentWork(data);
  const cache = new LatentCache({
    ...(folder === undefined ? {} : { folder }),
    onEvent: (event) => {
      if (event.kind === "damaged") run.warn(`${event.path} is damaged and made anew: ${event.reason}`);
    },
  });
  const { checkpoint } = bases.network1, vaeHash = await VaeModel.contentHash(checkpoint);
  let vae: VaeModel | null = null;
  try {
    for (const [done, { image, isFlipped }] of work.entries()) {
      run.signal.throwIfAborted();
      run.progress({ done, total: work.length, unit: "pictures" });
      const { path, bucket, resized } = image, cut = middleCut(resized, bucket);
      const imageBytes = await readImageBytes(path);
      const key = latentKey({ imageBytes, cut, isFlipped, vaeHash });
      const found = await cache.getOrCompute(key, async () => {
        vae ??= await VaeModel.load(checkpoint, bases.device);
        const picture = await prepareTensor(imageBytes, path, { cut, isFlipped });
        const [{ mean, logvar }] = await vae.encode([picture], bucket);
        if (!mean.every(Number.isFinite)) throw new Error(`Cannot cache latents: the VAE makes NaN of ${path}`);
        const shape = [bucket.height / vae.factor, bucket.width / vae.factor, 4];
        const tensor = (values: Float32Array): LatentTensor => ({ shape, values: Float32Array.from(values) });
        return { mean: tensor(mean), logvar: tensor(logvar) };
      });
      const [rows, columns] = found.mean.shape;
      store.set(image, isFlipped, { height: rows, width: columns, values: found.mean.values });
    }
    run.progress({ done: work.length, total: work.length, unit: "pictures" });
    return store;
  } finally {
    // The variable is set inside the closure above.
    (vae as VaeModel | null)?.free();
  }
}
