import { deepEqual, equal, notDeepEqual, ok } from "node:assert/strict";
import { input, plan } from "../../engine/mod.ts";
import { RandomStream } from "../../random/philox.ts";
import type { TrainBatch } from "../../training/feeds.ts";
import { Trainer, type TrainerNetwork } from "../../training/trainer.ts";
import { openTiny, tinyBatch, tinyNetwork, uploadByRule } from "./tiny_training.ts";

const tiny = await openTiny(), { device, base } = tiny;
const settings = { learningRate: 1e-3 };
/** Two batches, one of two pictures. */
const heldOut: TrainBatch[] = [
  { ...tinyBatch(0), samples: [...tinyBatch(0).samples, ...tinyBatch(1).samples] },
  tinyBatch(2),
];
const phase = { network1Trains: true, orthogonalityOn: false };

/** Figures of held-out pictures for networks whose weights are on the device. */
async function validate(networks: readonly TrainerNetwork[], batches = networks.map(() => heldOut)) {
  const trainer = new Trainer(device, base.schedule, networks, { seed: 1, totalSteps: 8 });
  try {
    return await trainer.validate(batches, 1);
  } finally {
    trainer.dispose();
  }
}

/** The base's own mean squared error, its noise and sums made on the host. */
async function baseLoss(batches: readonly TrainBatch[]): Promise<number> {
  const none = () => null, losses: number[] = [];
  for (const [index, { samples }] of batches.entries()) {
    const shape = [samples.length, 8, 8, 4];
    const context = base.encode(input("ids", [samples.length, 77], "i32"), { adapters: none, rows: 1 });
    const y = base.denoise(input("noisy", shape), input("timesteps", [samples.length]), context, { adapters: none });
    const program = await device.compile(plan({ outputs: { y } }));
    for (const [at, timestep] of [200, 400, 600, 800].entries()) {
      const alpha = base.schedule.alphasCumprod[timestep];
      const noise = new RandomStream({ seed: 1, stream: 131, step: index * 4 + at }).nextNormals(samples.length * 256);
      const latents = samples.flatMap((sample) => Array.from(sample.latents));
      const noisy = latents.map((value, i) =>
        Math.sqrt(alpha) * value * base.latentScale + Math.sqrt(1 - alpha) * noise[i]
      );
      const ids = samples.flatMap((sample) => Array.from(sample.ids));
      program.run({ ids, noisy, timesteps: samples.map(() => timestep) });
      const squares = Array.from((await program.read("y")).y, (value, i) => (value - noise[i]) ** 2);
      samples.forEach((_, n) => losses.push(squares.slice(n * 256, (n + 1) * 256).reduce((a, b) => a + b) / 256));
    }
    device.release(program);
  }
  return losses.reduce((a, b) => a + b) / losses.length;
}

/** Sets up projections to a multiple of what they are by rule. */
async function scaleUps({ lora }: TrainerNetwork, factor: number) {
  uploadByRule(device, { lora } as TrainerNetwork);
  const modules = lora.unflatten(await device.download(lora.weights) as Float32Array);
  device.upload(
    lora.weights,
    lora.flatten((module) => {
      const { down, up } = modules.get(module)!;
      return { down, up: up.map((value) => value * factor) };
    }),
  );
}

Deno.test("a network that changes nothing has the base's own loss, whatever weighs or widens its training's", async () => {
  const expected = await baseLoss(heldOut);
  const widened = { minSnrGamma: 1, noiseOffset: 0.3 };
  for (const loss of [{}, widened]) {
    const network = tinyNetwork(base, 1, { ...settings, loss }, { rank: 2, dropout: 0.9 });
    await scaleUps(network, 0);
    const { validation_1, ...others } = await validate([network]);
    ok(Math.abs(validation_1 / expected - 1) < 1e-5, `${validation_1}, expected ${expected}`);
    deepEqual(others, {});
  }
});

Deno.test("the stack has both networks' deltas", async () => {
  const networks = ([1, 2] as const).map((number) => tinyNetwork(base, number, settings));
  const [one, two] = networks;
  // Twice the same deltas are one network's, doubled.
  await scaleUps(one, 1);
  device.upload(two.lora.weights, await device.download(one.lora.weights));
  const stack = await validate(networks, [heldOut, []]);
  await scaleUps(one, 2);
  const doubled = await validate([one]);
  deepEqual(Object.keys(stack), ["validation_1", "validation_stack_1"]);
  ok(Math.abs(stack.validation_stack_1 / doubled.validation_1 - 1) < 1e-6);
  ok(Math.abs(stack.validation_1 / doubled.validation_1 - 1) > 1e-4, "one network alone has another loss");
});

Deno.test("validating leaves the training as it is and finds the same loss each time until weights move", async () => {
  const networks = ([1, 2] as const).map((number) =>
    tinyNetwork(base, number, settings, { rank: 2, rankDropout: 0.3 })
  );
  const train = async (validating: boolean) => {
    for (const network of networks) uploadByRule(device, network);
    const trainer = new Trainer(device, base.schedule, networks, { seed: 1, totalSteps: 8 }), found = [];
    try {
      for (const seed of [3, 4]) {
        await trainer.train(0, phase, [networks.map(() => tinyBatch(seed))]);
        if (validating) {
          found.push(await trainer.validate([heldOut, heldOut], 1));
          deepEqual(await trainer.validate([heldOut, heldOut], 1), found.at(-1));
        }
      }
      return { figures: await trainer.readFigures(), state: await trainer.save(), found };
    } finally {
      trainer.dispose();
    }
  };
  const [plain, validated] = [await train(false), await train(true)];
  deepEqual(validated.state, plain.state);
  deepEqual(validated.figures, plain.figures);
  equal(Object.keys(validated.found[0]).length, 4);
  notDeepEqual(validated.found[0], validated.found[1]);
});
