import { ok } from "node:assert/strict";
import { Device, type Tensor } from "../../engine/mod.ts";
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
  const source = new Source(weights, () => null, [], (path, output) => {
    const name = `block.${path}`;
    // This norm includes the SiLU behind it.
    if (golden.has(name) && !name.endsWith("conv_norm_out")) blocks.set(name, output);
  });
  const model = new AutoencoderKL(source, readVaeConfig(await goldenConfig("vae_tiny")));
  await fillWeightsByRule(device, weights);
  const posterior = model.encode(golden.input("32x48.image"));
  const results = {
    "32x48.mean": posterior.mean,
    "32x48.logvar": posterior.logvar,
    "32x48.sampled": model.sample(posterior, golden.input("32x48.noise")),
    "32x48.decoded": model.decode(golden.input("32x48.latent")),
  };
  ok(blocks.size >= 40, `only ${blocks.size} blocks were seen`);
  const found = await evaluate(device, { ...Object.fromEntries(blocks), ...results }, golden);
  for (const name of blocks.keys()) found[name] = found[name].slice(0, found[name].length / batch);
  const { name, error } = await checkAgainst(golden, found, 1e-4);
  console.log(`VAE: ${blocks.size} blocks, largest relative error ${error.toExponential(1)} at ${name}`);
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
