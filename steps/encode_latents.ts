import { defineStep } from "../pipeline/mod.ts";
import { data, latents } from "./things.ts";
import { checkOptions } from "./values/check_options.ts";
import { LiveLatents } from "./values/live_latents.ts";

/**
 * Encodes pictures with the VAE whenever they are shown, for random crops and changes of colour, which cached latents
 * cannot have (no `--cache_latents`). Every step takes longer, and the VAE stays on the device beside the networks.
 *
 * Each time a picture's latents are drawn from the distribution that the VAE gives, as in sd-scripts; see
 * docs/decisions/0027.
 */
export function encodeLatents(options: Record<string, never> = {}) {
  const name = "encode latents";
  checkOptions<Record<string, never>>(name, options, {});
  return defineStep({
    name,
    version: 1,
    needs: { data },
    gives: { latents },
    plan: () => ({
      lines: ["every picture is encoded each time it is shown; the VAE stays on the device"],
      gives: { latents: {} },
    }),
    run: () => Promise.resolve({ latents: new LiveLatents() }),
  });
}
