import { deepEqual, equal, notDeepEqual, ok } from "node:assert/strict";
import { isIdle, openTiny, tinyBatch, tinyNetwork, type Trained, trainTiny } from "./tiny_training.ts";

const tiny = await openTiny();

/** A network whose weights stay as they are. */
const still = tinyNetwork(tiny.base, 1, {
  learningRate: 1,
  textEncoderLearningRate: 0,
  unetLearningRate: 0,
});

Deno.test("the loss of a step is the mean over its micro-batches", async () => {
  const batches = [0, 1, 2].map(tinyBatch);
  // A micro-batch has the noise and timestep of its place, whatever steps are made of.
  const single = await trainTiny(tiny, [still], batches.map((batch) => [batch]));
  const gathered = await trainTiny(tiny, [still], [batches], { accumulationSteps: 3 });
  equal(gathered.figures.length, 1);
  const losses = single.figures.map(({ values }) => values.loss_1), mean = losses.reduce((a, b) => a + b) / 3;
  ok(Math.abs(gathered.figures[0].values.loss_1 / mean - 1) < 1e-6);
  ok(Math.abs(losses[2] / mean - 1) > 1e-3, "the last one alone is another");
});

Deno.test("a step moves weights by the mean of its micro-batches' gradients", async () => {
  // A first step of SGD without clipping is linear in the gradient.
  const network = tinyNetwork(tiny.base, 1, { learningRate: 1, optimizer: { name: "SGDNesterov" }, maxGradNorm: 0 });
  const batches = [0, 1].map(tinyBatch), none = { total: 0, inRow: 0 };
  const weightsOf = ({ state }: Trained) => state.networks[0].weights;
  const start = weightsOf(await trainTiny(tiny, [network], []));
  const from = { step: 1, skipped: none, networks: [{ weights: start, optimizer: {} }] };
  const first = weightsOf(await trainTiny(tiny, [network], [[batches[0]]]));
  const second = weightsOf(await trainTiny(tiny, [network], [[batches[1]]], {}, from));
  const both = weightsOf(await trainTiny(tiny, [network], [batches], { accumulationSteps: 2 }));
  let squares = 0, off = 0;
  for (const [i, value] of start.entries()) {
    const moved = both[i] - value, wanted = (first[i] + second[i]) / 2 - value;
    squares += wanted ** 2;
    off += (moved - wanted) ** 2;
  }
  ok(squares > 0 && Math.sqrt(off / squares) < 1e-4, `off by ${Math.sqrt(off / squares)}`);
});

Deno.test("a part at learning rate 0 stays as it was, and the other one trains", async () => {
  const cases = (["AdamW", "AdaFactor"] as const).flatMap((name) =>
    (["text_encoder", "unet"] as const).map((part) => ({ name, part }))
  );
  for (const { name, part } of cases) {
    const rates = { [part === "unet" ? "unetLearningRate" : "textEncoderLearningRate"]: 0 };
    const network = tinyNetwork(tiny.base, 1, { learningRate: 1e-3, optimizer: { name }, ...rates }),
      { lora } = network;
    const start = lora.unflatten((await trainTiny(tiny, [network], [])).state.networks[0].weights);
    const { state, figures } = await trainTiny(tiny, [network], [[tinyBatch(0)]]);
    // AdaFactor has a rate of its own.
    if (name === "AdamW") equal(figures[0].values[`learning_rate_${part}_1`], 0);
    for (const [module, values] of lora.unflatten(state.networks[0].weights)) {
      if (module.part === part) deepEqual(values, start.get(module));
      else if (!isIdle(module)) notDeepEqual(values.up, start.get(module)!.up);
    }
  }
});

Deno.test("a network's parts and blocks move as far as their learning rates say", async () => {
  // Lion moves each weight by its rate, up or down.
  const network = tinyNetwork(
    tiny.base,
    1,
    { learningRate: 1e-4, unetLearningRate: 1e-3, optimizer: { name: "Lion" } },
    { rank: 2, blocks: { midWeight: 0.5 } },
  );
  const { lora } = network, start = lora.unflatten((await trainTiny(tiny, [network], [])).state.networks[0].weights);
  const { state } = await trainTiny(tiny, [network], [[tinyBatch(0)]]);
  for (const [module, { up }] of lora.unflatten(state.networks[0].weights)) {
    const rate = module.part === "text_encoder" ? 1e-4 : module.name.includes("mid_block") ? 5e-4 : 1e-3;
    const moved = up.map((value, i) => Math.abs(value - start.get(module)!.up[i]));
    ok(moved.every((by) => by === 0 || Math.abs(by / rate - 1) < 1e-2), `${module.name} moved by ${moved[0]}`);
    ok(isIdle(module) || moved.some((by) => by > 0), module.name);
  }
});

Deno.test("both networks of a step have optimizers, schedules and losses of their own", async () => {
  const networks = [
    tinyNetwork(tiny.base, 1, {
      learningRate: 1e-3,
      schedule: "linear",
      optimizer: { name: "AdamW8bit" },
      loss: { type: "huber", noiseOffset: 0.1 },
    }),
    tinyNetwork(tiny.base, 2, {
      learningRate: 1,
      schedule: "constant_with_warmup",
      warmupSteps: 2,
      optimizer: { name: "Prodigy" },
      maxGradNorm: 0,
      maxWeightNorm: 0.1,
    }, { rank: 3, rankDropout: 0.5 }),
  ];
  const { figures } = await trainTiny(tiny, networks, [0, 1, 2].map((seed) => [tinyBatch(seed)]));
  deepEqual(figures.map(({ values }) => values.learning_rate_unet_1), [1e-3, 0.875e-3, 0.75e-3]);
  deepEqual(figures.map(({ values }) => values.learning_rate_unet_2), [0, 0.5, 1]);
  ok(!("d_1" in figures[0].values) && !("max_key_norm_1" in figures[0].values));
  for (const { values } of figures) {
    ok(Object.values(values).every(Number.isFinite));
    ok(values.d_2 >= Math.fround(1e-6) && values.max_key_norm_2 <= 0.1 + 1e-6 && values.keys_scaled_2 >= 0);
  }
  // At rate 0, in the first step, Prodigy leaves d alone.
  equal(figures[0].values.d_2, Math.fround(1e-6));
});

Deno.test("each loss, the noise offset and noise of several resolutions change what a network is trained for", async () => {
  const losses = [
    {},
    { type: "l1" },
    { type: "huber" },
    { type: "smooth_l1" },
    { noiseOffset: 0.2 },
    {
      minSnrGamma: 1,
    },
    { multiresNoiseIterations: 3 },
    { multiresNoiseIterations: 3, multiresNoiseDiscount: 0.8 },
  ] as const;
  const found: number[] = [];
  for (const loss of losses) {
    const network = { ...still, settings: { ...still.settings, loss } };
    const { figures: [{ values }] } = await trainTiny(tiny, [network], [[tinyBatch(0)]]);
    found.push(values.loss_1);
  }
  equal(new Set(found).size, losses.length, `${found}`);
});
