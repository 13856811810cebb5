import { deepEqual, notDeepEqual, ok } from "node:assert/strict";
import { optimizerNames } from "../../training/optimizers/optimizers.ts";
import { openTiny, tinyBatch, tinyNetwork, trainTiny } from "./tiny_training.ts";

const tiny = await openTiny();
const steps = [0, 1, 2, 3].map((seed) => [tinyBatch(seed)]);

/** Rates at which each optimizer moves visibly in four steps. */
const settings: Readonly<Record<string, { learningRate: number; arguments?: Record<string, number> }>> = {
  Lion: { learningRate: 1e-4 },
  SGDNesterov: { learningRate: 1 },
  DAdaptAdaGrad: { learningRate: 1, arguments: { eps: 1e-6 } },
};

for (const name of optimizerNames) {
  Deno.test(`${name} trains a network, and goes on from its saved state to the same bits`, async () => {
    const isAdaptive = /^(DAdapt|Prodigy)/.test(name);
    const { learningRate, arguments: args = {} } = settings[name] ?? { learningRate: isAdaptive ? 1 : 1e-3 };
    const network = tinyNetwork(tiny.base, 1, { learningRate, optimizer: { name, arguments: args } });
    const whole = await trainTiny(tiny, [network], steps);
    const before = await trainTiny(tiny, [network], steps.slice(0, 2));
    notDeepEqual(whole.state.networks[0].weights, before.state.networks[0].weights);
    const after = await trainTiny(tiny, [network], steps.slice(2), {}, before.state);
    deepEqual(after.state, whole.state);
    deepEqual([...before.figures, ...after.figures], whole.figures);
    for (const { values } of whole.figures) {
      ok(Object.values(values).every(Number.isFinite));
      if (isAdaptive) ok(values.d_1 > 0);
      if (name === "AdaFactor") ok(values.learning_rate_1 > 0);
      else deepEqual([values.learning_rate_text_encoder_1, values.learning_rate_unet_1], [learningRate, learningRate]);
    }
  });
}
