import { equal, ok, rejects } from "node:assert/strict";
import { input, plan } from "../../engine/mod.ts";
import { LoraNetwork } from "../../lora/network.ts";
import { RandomStream } from "../../random/philox.ts";
import { measureAdditivity } from "../../training/additivity.ts";
import type { TrainBatch } from "../../training/feeds.ts";
import { oneLayer, oneLayerBase, openTiny, tinyBatch, tinyNetwork, uploadByRule } from "./tiny_training.ts";

const { device, base } = await openTiny();
const [one, two] = ([1, 2] as const).map((number) => tinyNetwork(base, number, { learningRate: 1 }));
const batches: TrainBatch[] = [
  { ...tinyBatch(0), samples: [...tinyBatch(0).samples, ...tinyBatch(1).samples] },
  tinyBatch(2),
];
const noise = base.schedule, seed = 3;
const request = { base, network1: one.lora, network2: two.lora, noise, batches, seed };

/** Sets a network to its weights by rule, up projections times a factor. */
async function scaleUps({ lora }: typeof one, factor: number) {
  uploadByRule(device, { lora } as typeof one);
  const modules = lora.unflatten(await device.download(lora.weights) as Float32Array);
  const values = lora.flatten((module) => {
    const { down, up } = modules.get(module)!;
    return { down, up: up.map((value) => value * factor) };
  });
  device.upload(lora.weights, values);
}

/** Everything that the base predicts with network 1 at some strength, noise drawn and added on the host. */
async function predictions(strength: number): Promise<number[]> {
  await scaleUps(one, strength);
  const found: number[] = [];
  for (const [index, { samples }] of batches.entries()) {
    const shape = [samples.length, 8, 8, 4], adapters = one.lora;
    const context = base.encode(input("ids", [samples.length, 77], "i32"), {
      adapters: adapters.adapters("text_encoder"),
      rows: 1,
    });
    const y = base.denoise(input("noisy", shape), input("timesteps", [samples.length]), context, {
      adapters: adapters.adapters("unet"),
    });
    const program = await device.compile(plan({ outputs: { y } }));
    for (const [at, timestep] of [200, 400, 600, 800].entries()) {
      const alpha = noise.alphasCumprod[timestep];
      const drawn = new RandomStream({ seed, stream: 141, step: index * 4 + at }).nextNormals(samples.length * 256);
      const noisy = samples.flatMap((sample) => Array.from(sample.latents)).map((value, i) =>
        Math.sqrt(alpha) * value * base.latentScale + Math.sqrt(1 - alpha) * drawn[i]
      );
      const ids = samples.flatMap((sample) => Array.from(sample.ids));
      program.run({ ids, noisy, timesteps: samples.map(() => timestep) });
      found.push(...(await program.read("y")).y);
    }
    device.release(program);
  }
  return found;
}

Deno.test("a network that changes nothing adds up with any other: the error is 0", async () => {
  await scaleUps(one, 1);
  await scaleUps(two, 0);
  const found = await measureAdditivity(device, request);
  equal(found.error, 0);
  equal(found.change2, 0);
  ok(found.change1 > 0);
  // Three pictures at four timesteps.
  equal(found.samples, 12);
});

Deno.test("the error of a network stacked on itself is that of its doubled strength", async () => {
  const none = await predictions(0), once = await predictions(1), twice = await predictions(2);
  const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value ** 2, 0) / values.length;
  const interaction = mean(twice.map((value, i) => value - 2 * once[i] + none[i]));
  const change = mean(once.map((value, i) => value - none[i]));
  await scaleUps(one, 1);
  device.upload(two.lora.weights, await device.download(one.lora.weights));
  const found = await measureAdditivity(device, request);
  for (
    const [name, value, expected] of [
      ["interaction", found.interaction, interaction],
      ["change1", found.change1, change],
      ["change2", found.change2, change],
      ["error", found.error, interaction / (2 * change)],
    ] as const
  ) ok(Math.abs(value / expected - 1) < 1e-3, `${name}: ${value}, expected ${expected}`);
});

Deno.test("in a model of one linear layer all changes add up", async () => {
  const [network1, network2] = [1, 2].map((k) => new LoraNetwork(`small ${k}`, { unet: [oneLayer] }, { rank: 2 }));
  for (const lora of [network1, network2]) uploadByRule(device, { lora } as typeof one);
  const { error, change2 } = await measureAdditivity(device, { ...request, base: oneLayerBase, network1, network2 });
  ok(change2 > 1e-4 && error < 1e-9, `${error}`);
});

Deno.test("additivity is not measured where nothing can be said", async () => {
  await scaleUps(one, 0);
  await scaleUps(two, 0);
  await rejects(
    measureAdditivity(device, request),
    /^RangeError: .* neither network changes a prediction; were they trained\?$/,
  );
  await rejects(measureAdditivity(device, { ...request, batches: [] }), /there are no latents to predict from$/);
});
