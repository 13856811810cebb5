import { defineStep } from "../pipeline/mod.ts";
import { data, latents } from "./things.ts";
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
    needs: { data },
    gives: { latents },
    plan: () => ({
      lines: ["every picture is encoded each time it is shown; the VAE stays on the device"],
      gives: { latents: {} },
    }),
    run: () => Promise.resolve({ latents: new LiveLatents(stored) }),
  });
}
