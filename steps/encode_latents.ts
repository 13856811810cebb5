import type { ImageSize } from "../data/resize.ts";
import { type FloatFormat, pooledBytes } from "../engine/mod.ts";
import { planEncoding } from "../models/vae/encoding.ts";
import { buildVae } from "../models/vae_model.ts";
import { defineStep, sizeText } from "../pipeline/mod.ts";
import { bases, data, latents } from "./things.ts";
import type { OpenedBases } from "./values/bases.ts";
import { checkEncodable, latentWork } from "./values/latent_work.ts";
import type { TrainingData } from "./values/training_data.ts";
import type { CacheLatentsOptions } from "./cache_latents.ts";
import { checkOptions } from "./values/check_options.ts";
import { storageFormat } from "./values/mixed_precision.ts";
import { LiveLatents } from "./values/live_latents.ts";

/** Options of `encodeLatents`. */
export type EncodeLatentsOptions = Pick<CacheLatentsOptions, "mixedPrecision">;

/**
 * Encodes pictures with the VAE whenever they are shown, for random crops and changes of colour, which cached latents
 * cannot have (no `--cache_latents`). Every step takes longer, and the VAE stays on the device beside the networks.
 *
 * Each time a picture's latents are drawn from the distribution that the VAE gives, as in sd-scripts; see
 * docs/decisions/0027.
 */
export function encodeLatents(options: EncodeLatentsOptions = {}) {
  const name = "encode latents";
  checkOptions<EncodeLatentsOptions>(name, options, { mixedPrecision: true });
  const stored = storageFormat("Cannot encode latents", options.mixedPrecision);
  return defineStep({
    name,
    version: 1,
    options,
    needs: { bases, data },
    gives: { latents },
    plan: ({ bases, data }) => {
      checkEncodable(data);
      const gpuBytes = vaeBytes(bases, data, stored);
      return {
        figures: { vaeGpuBytes: gpuBytes },
        lines: [
          `every picture is encoded each time it is shown: the VAE stays on the device, and takes ${
            sizeText(gpuBytes)
          } of it`,
        ],
        gives: { latents: { gpuBytes } },
      };
    },
    run: ({ data }) => {
      checkEncodable(data);
      return Promise.resolve({ latents: new LiveLatents(stored) });
    },
  });
}

/** Bytes that the VAE and its programs take, one picture of each size at a time. */
function vaeBytes({ network1: { checkpoint } }: OpenedBases, data: TrainingData, stored: FloatFormat): number {
  const { model, weights } = buildVae(checkpoint, stored), sizes = new Map<string, ImageSize>();
  for (const { image: { bucket } } of latentWork(data)) sizes.set(`${bucket.width} ${bucket.height}`, bucket);
  const programs = [...sizes.values()].map((size) => planEncoding(model, size).program);
  return pooledBytes(programs, weights.all.map(({ variable }) => variable));
}
