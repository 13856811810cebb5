import { readImageBytes } from "../data/image.ts";
import { LatentCache, latentKey, type LatentTensor } from "../data/latent_cache.ts";
import { prepareImage } from "../data/prepare_image.ts";
import { VaeModel } from "../models/vae_model.ts";
import { defineStep, type StepRun } from "../pipeline/mod.ts";
import { bases, data, latents } from "./things.ts";
import type { LoadedBases } from "./values/bases.ts";
import { checkOptions } from "./values/check_options.ts";
import { LatentStore } from "./values/latents.ts";
import { datasetOf, type NetworkData, type TrainingData } from "./values/training_data.ts";

/** Options of `cacheLatents`. */
export interface CacheLatentsOptions {
  /** Folder that keeps latents between runs and recipes; without it they live in memory alone. */
  readonly folder?: string;
}

/** One picture to encode. */
interface Work {
  readonly path: string;
  readonly width: number;
  readonly height: number;
  readonly isFlipped: boolean;
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
    version: 1,
    needs: { bases, data },
    gives: { latents },
    plan: ({ data }) => {
      const count = workOf(data).length;
      return { figures: { picturesToEncode: count }, gives: { latents: { count } } };
    },
    run: async ({ bases, data }, run) => ({ latents: await encodeAll(bases, data, options.folder, run) }),
  });
}

async function encodeAll(
  bases: LoadedBases,
  data: TrainingData,
  folder: string | undefined,
  run: StepRun,
): Promise<LatentStore> {
  const store = new LatentStore(), work = workOf(data);
  const cache = new LatentCache({
    ...(folder === undefined ? {} : { folder }),
    onEvent: (event) => {
      if (event.kind === "damaged") run.warn(`${event.path} is damaged and made anew: ${event.reason}`);
    },
  });
  const { checkpoint } = bases.network1, vaeHash = await VaeModel.contentHash(checkpoint);
  let vae: VaeModel | null = null;
  try {
    for (const [done, { path, width, height, isFlipped }] of work.entries()) {
      run.signal.throwIfAborted();
      run.progress({ done, total: work.length, unit: "pictures" });
      const imageBytes = await readImageBytes(path);
      const key = latentKey({ imageBytes, width, height, crop: "center", isFlipped, vaeHash });
      const found = await cache.getOrCompute(key, async () => {
        vae ??= await VaeModel.load(checkpoint, bases.device);
        const picture = await prepareImage(imageBytes, path, { width, height }, { isFlipped });
        const [{ mean, logvar }] = await vae.encode([picture], { width, height });
        if (!mean.every(Number.isFinite)) throw new Error(`Cannot cache latents: the VAE makes NaN of ${path}`);
        const shape = [height / vae.factor, width / vae.factor, 4];
        const tensor = (values: Float32Array): LatentTensor => ({ shape, values: Float32Array.from(values) });
        return { mean: tensor(mean), logvar: tensor(logvar) };
      });
      const [rows, columns] = found.mean.shape;
      store.set(path, { width, height, isFlipped }, { height: rows, width: columns, values: found.mean.values });
    }
    run.progress({ done: work.length, total: work.length, unit: "pictures" });
    return store;
  } finally {
    // The variable is set inside the closure above.
    (vae as VaeModel | null)?.free();
  }
}

function workOf({ network1, network2 }: TrainingData): Work[] {
  const found = new Map<string, Work>();
  for (const each of [network1, network2]) if (each) addWork(found, each);
  return [...found.values()];
}

function addWork(found: Map<string, Work>, data: NetworkData): void {
  const dataset = datasetOf(data), { width, height } = dataset;
  for (const { path, repeats } of dataset.images) {
    if (repeats === 0) continue;
    for (const isFlipped of data.options.flipAugmentation ? [false, true] : [false]) {
      found.set(JSON.stringify([path, width, height, isFlipped]), { path, width, height, isFlipped });
    }
  }
}
