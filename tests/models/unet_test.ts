import { deepEqual, equal } from "node:assert/strict";
import { Device, gradients, mean, multiply, type Tensor } from "../../engine/mod.ts";
import { fillWeightsByRule } from "../../models/load.ts";
import { type Observer, Source } from "../../models/source.ts";
import { readUNetConfig } from "../../models/unet/config.ts";
import { UNet2DConditionModel } from "../../models/unet/unet_2d_condition.ts";
import { Weights } from "../../models/weights.ts";
import {
  checkAgainst,
  evaluate,
  fillQuietly,
  Golden,
  goldenConfig,
  gradientTargets,
  inCheckpointLayout,
} from "./golden.ts";

async function tinyUNet(weights: Weights, observer: Observer | null = null): Promise<UNet2DConditionModel> {
  const source = new Source(weights, () => null, [], observer);
  return new UNet2DConditionModel(source, readUNetConfig(await goldenConfig("unet_tiny")));
}

function run(model: UNet2DConditionModel, golden: Golden): Tensor {
  return model.forward(golden.input("sample"), golden.input("timesteps"), golden.input("context"));
}

Deno.test("UNet2DConditionModel computes diffusers' output and every block's", async () => {
  using device = await Device.open();
  await using golden = await Golden.open("unet_tiny");
  const weights = new Weights("unet"), blocks = new Map<string, Tensor>();
  const see = (path: string, output: Tensor) => {
    if (golden.has(`block.${path}`)) blocks.set(`block.${path}`, output);
  };
  const model = await tinyUNet(weights), observed = await tinyUNet(weights, { see, apart: true });
  await fillWeightsByRule(device, weights);
  const inputs = [golden.input("sample"), golden.input("timesteps"), golden.input("context")] as const;
  const output = model.forward(...inputs);
  observed.forward(...inputs);
  equal(blocks.size, 148);
  const found = await evaluate(device, { ...Object.fromEntries(blocks), output }, golden);
  const { name, error } = await checkAgainst(golden, found, 1e-4);
  console.log(`UNet: ${blocks.size} blocks, largest relative error ${error.toExponential(1)} at ${name}`);
});

Deno.test("UNet2DConditionModel's norms have diffusers' epsilons", async () => {
  using device = await Device.open();
  await using golden = await Golden.open("unet_tiny");
  const weights = new Weights("unet"), model = await tinyUNet(weights);
  await fillQuietly(device, weights);
  const found = await evaluate(device, { "quiet.output": run(model, golden) }, golden);
  const { error } = await checkAgainst(golden, found, 1e-4);
  console.log(`UNet with quiet weights: relative error ${error.toExponential(1)}`);
});

Deno.test("UNet2DConditionModel takes sides that cannot be halved three times, as diffusers does", async () => {
  using device = await Device.open();
  await using golden = await Golden.open("unet_odd");
  const weights = new Weights("unet"), model = await tinyUNet(weights);
  await fillWeightsByRule(device, weights);
  const sample = golden.input("sample");
  const output = model.forward(sample, golden.input("timesteps"), golden.input("context"));
  deepEqual(output.shape, [2, 13, 6, 4]);
  const loss = mean(multiply(output, golden.input("cotangent"))), [gradient] = gradients(loss, [sample]);
  const found = await evaluate(device, { output, "grad.sample": gradient! }, golden);
  const { name, error } = await checkAgainst(golden, found, 1e-4);
  console.log(`UNet of 13×6 latents: largest relative error ${error.toExponential(1)} at ${name}`);
});

Deno.test("UNet2DConditionModel has diffusers' gradients", async () => {
  using device = await Device.open();
  await using golden = await Golden.open("unet_tiny");
  const weights = new Weights("unet"), model = await tinyUNet(weights);
  await fillWeightsByRule(device, weights);
  const sample = golden.input("sample"), context = golden.input("context");
  const loss = mean(multiply(model.forward(sample, golden.input("timesteps"), context), golden.input("cotangent")));
  const targets: Record<string, Tensor> = {
    ...gradientTargets(golden, weights),
    "grad.sample": sample,
    "grad.context": context,
  };
  const names = Object.keys(targets);
  equal(names.length, 29);
  const found = gradients(loss, Object.values(targets));
  const outputs = Object.fromEntries(names.map((name, i) => [name, found[i]!]));
  const results = inCheckpointLayout(await evaluate(device, { ...outputs, loss }, golden), weights);
  const { name, error } = await checkAgainst(golden, results, 1e-3);
  console.log(`UNet: largest relative error of a gradient ${error.toExponential(1)} at ${name}`);
});
