import { deepEqual, equal, ok, throws } from "node:assert/strict";
import { input, plan } from "../../engine/mod.ts";
import { uniformByRule } from "../../formats/weights_by_rule.ts";
import { LoraNetwork, type Part } from "../../lora/network.ts";
import { stacked } from "../../models/source.ts";
import type { CouplingOptions } from "../../training/coupling.ts";
import { makeUpdater } from "../../training/network_settings.ts";
import type { StackOptions } from "../../training/stack_loss.ts";
import { haltFlag, type StepForm, type StepNetwork, traceStep } from "../../training/step_graph.ts";
import type { TrainerNetwork } from "../../training/trainer.ts";
import { oneLayer, oneLayerBase, openTiny, tinyNetwork, uploadByRule } from "./tiny_training.ts";

const { device, base } = await openTiny(), settings = { learningRate: 1e-3, maxGradNorm: 0 };
const tiny = ([1, 2] as const).map((number) => tinyNetwork(base, number, settings));
const [one, two] = tiny.map(({ lora }) => lora);

const small = ([1, 2] as const).map((number): TrainerNetwork => {
  return {
    number,
    base: oneLayerBase,
    lora: new LoraNetwork(`small ${number}`, { unet: [oneLayer] }, { rank: 2 }),
    settings,
  };
});
for (const network of [...tiny, ...small]) uploadByRule(device, network);

const batch = 2, cells = 8 * 8 * 4, shape = { batch, height: 8, width: 8, tokenRows: 1 };
const timesteps = [300, 700], alphas = timesteps.map((t) => base.schedule.alphasCumprod[t]);
/** Network k's inputs, its pictures weighted differently. */
const batches = [1, 2].map((k) => ({
  latents: uniformByRule(`latents.${k}`, batch * cells),
  noise: uniformByRule(`noise.${k}`, batch * cells),
  ids: Array.from(uniformByRule(`ids.${k}`, batch * 77), (value) => Math.floor((value + 1) * 50)),
  weights: [1, 0.5 * k],
}));
const feeds = Object.fromEntries(batches.flatMap(({ latents, noise, ids, weights }, at) =>
  Object.entries({
    ...{ latents, noise, ids, timesteps },
    signal: alphas.map(Math.sqrt),
    sigma: alphas.map((alpha) => Math.sqrt(1 - alpha)),
    loss_weights: weights,
    mse_weights: weights,
  }).map(([name, values]) => [`${name}_${at + 1}`, values])
));

const apart: CouplingOptions = {
  ...{ on: true, textCoefficient: 0, unetCoefficient: 0, divergenceCoefficient: 0, textMask: "1-I" },
};

interface Step {
  readonly networks?: readonly TrainerNetwork[];
  readonly stack?: StackOptions;
  readonly coupling?: Partial<CouplingOptions>;
  readonly form?: StepForm;
}

function trace({ networks = tiny, stack, coupling, form = "clean" }: Step) {
  const sides = networks.map((network): StepNetwork => ({
    ...network,
    ...makeUpdater(network.lora, network.settings),
    ...{ shape, trains: true },
  }));
  return traceStep(sides, {
    form,
    orthogonality: { ...apart, ...coupling },
    ...(stack ? { stack } : {}),
    vParameterization: false,
    accumulation: { count: 1, isLast: true },
    noise: "fed",
    allFigures: true,
    gradientCheckpointing: false,
    halted: haltFlag(),
  });
}

/** Losses, terms and gradients of a step; no weight is changed. */
async function run(step: Step = {}) {
  const { figures, gradients } = trace(step);
  const program = await device.compile(plan({ outputs: { ...figures, ...gradients } }));
  const needed = Object.entries(feeds).filter(([name]) => program.program.inputs.has(name));
  program.run(Object.fromEntries(needed));
  const found = await program.read(...Object.keys({ ...figures, ...gradients }));
  device.release(program);
  return found;
}

/** What the base predicts for network k's noisy pictures with some networks, noise added on the host. */
async function predict(k: number, loras: readonly typeof one[]): Promise<Float32Array> {
  const { latents, noise, ids } = batches[k - 1];
  const noisy = latents.map((value, i) => {
    const alpha = alphas[Math.floor(i / cells)];
    return Math.sqrt(alpha) * value * base.latentScale + Math.sqrt(1 - alpha) * noise[i];
  });
  const adapters = (part: Part) => stacked(loras.map((lora) => lora.adapters(part)));
  const context = base.encode(input("ids", [batch, 77], "i32"), { adapters: adapters("text_encoder"), rows: 1 });
  const y = base.denoise(input("noisy", [batch, 8, 8, 4]), input("timesteps", [batch]), context, {
    adapters: adapters("unet"),
  });
  const program = await device.compile(plan({ outputs: { y } }));
  program.run({ ids, noisy, timesteps });
  const read = await program.read("y");
  device.release(program);
  return read.y as Float32Array;
}

/** Mean over samples of weight times mean square. */
function weighedSquare(k: number, a: ArrayLike<number>, b: ArrayLike<number>): number {
  const { weights } = batches[k - 1];
  let sum = 0;
  for (let i = 0; i < batch * cells; i++) sum += weights[Math.floor(i / cells)] * (a[i] - b[i]) ** 2;
  return sum / cells / batch;
}

function near(found: number, expected: number, limit: number, what: string) {
  ok(Math.abs(found / expected - 1) < limit, `${what}: ${found}, expected ${expected}`);
}

Deno.test("the stack's terms are its distances from network 2's noise and from what network 1 alone predicts, and reach network 2's loss alone", async () => {
  const plain = await run(), found = await run({ stack: { own: 0.5, other: 3 } });
  const own = weighedSquare(2, await predict(2, [one, two]), batches[1].noise);
  const other = weighedSquare(1, await predict(1, [one, two]), await predict(1, [one]));
  near(found.stack_own[0], own, 1e-4, "stack_own");
  near(found.stack_other[0], other, 1e-4, "stack_other");
  near(found.loss_2[0], plain.loss_2[0] + 0.5 * own + 3 * other, 1e-5, "loss_2");
  deepEqual(found.loss_1, plain.loss_1);
  deepEqual(found.gradient_1, plain.gradient_1);
});

/** Compares network 2's gradient with differences of its loss, entry by entry. */
async function checkGradient(step: Step, what: string) {
  const { lora } = small[1], weights = await device.download(lora.weights) as Float32Array;
  const { gradient_2: gradient } = await run({ ...step, networks: small });
  const lossAt = async (at: number, by: number) => {
    device.upload(lora.weights, weights.map((value, i) => i === at ? value + by : value));
    return (await run({ ...step, networks: small })).loss_2[0];
  };
  for (const { offsetElements, name } of lora.tensors) {
    for (const at of [offsetElements, offsetElements + 5]) {
      const slope = (await lossAt(at, 1e-2) - await lossAt(at, -1e-2)) / 2e-2;
      ok(Math.abs(gradient[at] - slope) < 1e-4, `${what}, ${name} ${at}: ${gradient[at]}, by differences ${slope}`);
    }
  }
  device.upload(lora.weights, weights);
}

Deno.test("the stack's gradient is that of differences", async () => {
  await checkGradient({ stack: { own: 1, other: 0 } }, "own");
  await checkGradient({ stack: { own: 0, other: 20 } }, "other");
});

Deno.test("other hooks and penalties on weights reach both losses, each times its coefficient and the mean loss weight", async () => {
  const hooks = { modules: "all", coefficient: 3 } as const, networks = small;
  for (
    const [coupling, name, coefficient] of [
      [{ hooks }, "orth_hooks", 3],
      [{ downCoefficient: 5 }, "orth_down", 5],
      [{ upCoefficient: 7 }, "orth_up", 7],
    ] as const
  ) {
    const plain = await run({ networks }), found = await run({ networks, coupling });
    deepEqual(Object.keys(found).filter((each) => !(each in plain)), [name]);
    ok(found[name][0] > 0);
    for (const k of [1, 2]) {
      const [first, second] = batches[k - 1].weights, mean = (first + second) / 2;
      near(found[`loss_${k}`][0], plain[`loss_${k}`][0] + coefficient * mean * found[name][0], 1e-5, `${name}, ${k}`);
    }
    await checkGradient({ coupling }, name);
    const off = await run({ networks, coupling: { ...coupling, on: false } });
    equal(name in off, false);
    deepEqual(off.loss_2, plain.loss_2);
  }
});

Deno.test("the stack is not trained in the original form, where losses reach both networks, nor with coefficients of 0", () => {
  const stack = { own: 1, other: 1 };
  throws(() => trace({ stack, form: "original" }), /^RangeError: Cannot train the stack in the original form/);
  throws(() => trace({ stack: { own: 0, other: 0 } }), /^RangeError: Cannot train the stack: both coefficients are 0$/);
});
