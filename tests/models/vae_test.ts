import { deepEqual, equal, throws } from "node:assert/strict";
import { Device, input, type Tensor } from "../../engine/mod.ts";
import { fillWeightsByRule } from "../../models/load.ts";
import { Source } from "../../models/source.ts";
import { AutoencoderKL } from "../../models/vae/autoencoder_kl.ts";
import { readVaeConfig } from "../../models/vae/config.ts";
import { Weights } from "../../models/weights.ts";
import { checkAgainst, evaluate, fillQuietly, Golden, goldenConfig } from "./golden.ts";

const batch = 2;

Deno.test("AutoencoderKL computes diffusers' moments, sample, picture and every block's output", async () => {
  using device = await Device.open();
  await using golden = await Golden.open("vae_tiny");
  const weights = new Weights("vae"), blocks = new Map<string, Tensor>();
  const see = (path: string, output: Tensor) => {
    if (golden.has(`block.${path}`)) blocks.set(`block.${path}`, output);
  };
  const config = readVaeConfig(await goldenConfig("vae_tiny")), model = new AutoencoderKL(new Source(weights), config);
  const observed = new AutoencoderKL(new Source(weights, () => null, [], { see, apart: true }), config);
  await fillWeightsByRule(device, weights);
  const image = golden.input("32x48.image"), latent = golden.input("32x48.latent");
  const posterior = model.encode(image);
  const results = {
    "32x48.mean": posterior.mean,
    "32x48.logvar": posterior.logvar,
    "32x48.sampled": model.sample(posterior, golden.input("32x48.noise")),
    "32x48.decoded": model.decode(latent),
  };
  observed.encode(image);
  observed.decode(latent);
  equal(blocks.size, 44);
  const found = await evaluate(device, { ...Object.fromEntries(blocks), ...results }, golden);
  for (const name of blocks.keys()) found[name] = found[name].slice(0, found[name].length / batch);
  const { name, error } = await checkAgainst(golden, found, 1e-4);
  console.log(`VAE: ${blocks.size} blocks, largest relative error ${error.toExponential(1)} at ${name}`);
});

Deno.test("AutoencoderKL encodes sides that are no multiples of 8 as diffusers does, without their ends", async () => {
  using device = await Device.open();
  await using golden = await Golden.open("vae_odd");
  const weights = new Weights("vae");
  const model = new AutoencoderKL(new Source(weights), readVaeConfig(await goldenConfig("vae_tiny")));
  await fillWeightsByRule(device, weights);
  const { mean, logvar } = model.encode(golden.input("image"));
  deepEqual(mean.shape, [1, 5, 7, 4]);
  const { error } = await checkAgainst(golden, await evaluate(device, { mean, logvar }, golden), 1e-4);
  console.log(`VAE of 45×62 pixels: largest relative error ${error.toExponential(1)}`);
  throws(() => model.encode(input("small", [1, 7, 64, 3])), {
    message: "Cannot encode pictures of 7x64 pixels: height and width must be 8 at least",
  });
});

Deno.test("AutoencoderKL's norms have diffusers' epsilon", async () => {
  using device = await Device.open();
  await using golden = await Golden.open("vae_tiny");
  const weights = new Weights("vae");
  const model = new AutoencoderKL(new Source(weights), readVaeConfig(await goldenConfig("vae_tiny")));
  await fillQuietly(device, weights);
  const { mean, logvar } = model.encode(golden.input("32x48.image"));
  const decoded = model.decode(golden.input("32x48.latent"));
  const outputs = { "quiet.mean": mean, "quiet.logvar": logvar, "quiet.decoded": decoded };
  const { name, error } = await checkAgainst(golden, await evaluate(device, outputs, golden), 1e-4);
  console.log(`VAE with quiet weights: largest relative error ${error.toExponential(1)} at ${name}`);
});
