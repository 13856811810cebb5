import { join } from "node:path";
import { input as graphInput, type Tensor } from "../../engine/mod.ts";
import { ConfigReader } from "../../models/config_reader.ts";
import { Source } from "../../models/source.ts";
import { AutoencoderKL } from "../../models/vae/autoencoder_kl.ts";
import { readVaeConfig } from "../../models/vae/config.ts";
import { Weights } from "../../models/weights.ts";
import {
  activationsOption,
  evaluate,
  freeWeights,
  openWeights,
  type ProbeRequest,
  quietWeights,
  wantsQuietRun,
} from "./context.ts";
import { isSmall } from "./gradients.ts";
import { option } from "./options.ts";
import { entryOf, hasAny, optionalSetsOf, setsOf, type TensorSet, toNchw, toNhwc } from "./tensors.ts";

/** Options of `vae`. */
export const vaeOptions = ["blocks", "activations"];

/**
 * The VAE: for each set `image` gives `mean` and `logvar`, with `noise` also `sampled`; `latent` gives `decoded`. For the first set
 * `block.<module>` of the batch's first, as diffusers' modules give it, and `quiet.…`: of a small model (the option `blocks` decides otherwise), or where the
 * input names them.
 */
export async function probeVae(request: ProbeRequest): Promise<TensorSet> {
  const { device, folder, input } = request, output: TensorSet = new Map();
  const config = readVaeConfig(await ConfigReader.open(join(folder, "vae", "config.json")));
  const weights = new Weights("vae", request.precision), observed = new Map<string, Tensor>();
  const model = new AutoencoderKL(new Source(weights), config, activationsOption(request));
  const see = (path: string, tensor: Tensor) => path && observed.set(`block.${path}`, tensor);
  // Blocks come of a model of their own: with nothing fused it is another program than the one that trains.
  const apart = new AutoencoderKL(new Source(weights, () => null, [], { see, apart: true }), config);
  const allBlocks = option(request.options, "blocks", isSmall(weights));
  const latents = optionalSetsOf(input, "latent"),
    images = latents.length > 0 ? optionalSetsOf(input, "image") : setsOf(input, "image");
  try {
    await openWeights(request, weights);
    const sets = [...new Set([...images, ...latents])];
    for (const [index, prefix] of sets.entries()) await run(prefix, prefix, index === 0);
    if (wantsQuietRun(request, weights)) {
      await quietWeights(request, weights);
      await run(sets[0], "quiet.", false);
    }
  } finally {
    freeWeights(device, weights);
  }
  return output;

  async function run(from: string, to: string, withBlocks: boolean): Promise<void> {
    const feeds: Record<string, ArrayLike<number>> = {}, outputs: Record<string, Tensor> = {};
    const given = (name: string) => {
      const tensor = input.get(from + name);
      if (!tensor) return null;
      const { shape, data } = toNhwc(tensor);
      feeds[name] = data;
      return graphInput(name, shape);
    };
    const image = given("image"), noise = given("noise"), latent = given("latent");
    if (image) {
      const posterior = model.encode(image);
      Object.assign(outputs, posterior, noise ? { sampled: model.sample(posterior, noise) } : {});
    }
    if (latent) outputs.decoded = model.decode(latent);
    const blocks = new Map<string, Tensor>();
    if (withBlocks && (allBlocks || hasAny(input, "block."))) {
      if (image) apart.encode(image);
      if (latent) apart.decode(latent);
      for (const [name, tensor] of observed) if (allBlocks || input.has(name)) blocks.set(name, tensor);
    }
    const found = await evaluate(device, { ...outputs, ...Object.fromEntries(blocks) }, feeds);
    for (const [name, { shape }] of Object.entries(outputs)) {
      output.set(to + name, toNchw({ shape, data: found[name] as Float32Array }));
    }
    for (const [name, { shape }] of blocks) {
      const tensor = { shape, data: found[name] as Float32Array };
      const whole = shape.length === 4 ? toNchw(tensor) : tensor, first = entryOf(whole, 0);
      output.set(name, { ...first, shape: [1, ...first.shape] });
    }
  }
}
