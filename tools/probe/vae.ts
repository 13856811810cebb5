import { join } from "node:path";
import { input as graphInput, type Tensor } from "../../engine/mod.ts";
import { ConfigReader } from "../../models/config_reader.ts";
import { Source } from "../../models/source.ts";
import { AutoencoderKL } from "../../models/vae/autoencoder_kl.ts";
import { readVaeConfig } from "../../models/vae/config.ts";
import { Weights } from "../../models/weights.ts";
import { evaluate, freeWeights, openWeights, type ProbeRequest, quietWeights, storage } from "./context.ts";
import { option } from "./options.ts";
import { entryOf, hasAny, optionalSetsOf, setsOf, type TensorSet, toNchw, toNhwc } from "./tensors.ts";

/** Options of `vae`. */
export const vaeOptions = ["blocks"];

/** A norm with more in it here than in diffusers: the SiLU behind it. */
const fused = /conv_norm_out$/;

/**
 * The VAE: for each set `image` gives `mean` and `logvar`, with `noise` also `sampled`; `latent` gives `decoded`. For the first set
 * `block.<module>` of the batch's first, where the input names them or the option `blocks` asks for all, and `quiet.…` where the input names it.
 */
export async function probeVae(request: ProbeRequest): Promise<TensorSet> {
  const { device, folder, input } = request, output: TensorSet = new Map();
  const config = readVaeConfig(await ConfigReader.open(join(folder, "vae", "config.json")));
  const weights = new Weights("vae", storage(request)), observed = new Map<string, Tensor>();
  const observe = (path: string, tensor: Tensor) => observed.set(path, tensor);
  const model = new AutoencoderKL(new Source(weights, () => null, [], observe), config);
  const allBlocks = option(request.options, "blocks", false);
  const latents = optionalSetsOf(input, "latent"),
    images = latents.length > 0 ? optionalSetsOf(input, "image") : setsOf(input, "image");
  try {
    await openWeights(request, weights);
    const sets = [...new Set([...images, ...latents])];
    for (const [index, prefix] of sets.entries()) await run(prefix, prefix, index === 0);
    if (hasAny(input, "quiet.")) {
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
    observed.clear();
    const image = given("image"), noise = given("noise"), latent = given("latent");
    if (image) {
      const posterior = model.encode(image);
      Object.assign(outputs, posterior, noise ? { sampled: model.sample(posterior, noise) } : {});
    }
    if (latent) outputs.decoded = model.decode(latent);
    const blocks = new Map<string, Tensor>();
    for (const [path, tensor] of withBlocks ? observed : []) {
      const name = `block.${path}`;
      if (!fused.test(path) && (allBlocks || input.has(name))) blocks.set(name, tensor);
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
