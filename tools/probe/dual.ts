import { plan, type Tensor } from "../../engine/mod.ts";
import type { LoraNetwork } from "../../lora/network.ts";
import type { BaseModel } from "../../models/base_model.ts";
import { minSnrWeights } from "../../models/noise/min_snr.ts";
import { AdamWState, type StepForm, type StepNetwork, type StepOptions, traceStep } from "../../training/step_graph.ts";
import type { TextMask } from "../../lora/orthogonality.ts";
import { numbersOption, openBase, openNetwork, option, type ProbeRequest } from "./context.ts";
import { entryOf, scalar, setsOf, tensorOf, type TensorSet, toNhwc } from "./tensors.ts";

const adamw = { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0.01 };

interface Pair {
  readonly bases: readonly [BaseModel, BaseModel];
  readonly networks: readonly [LoraNetwork, LoraNetwork];
}

async function openPair(request: ProbeRequest): Promise<Pair> {
  const base1 = await openBase(request);
  // A folder's own weights are one base for both; by rule each network has its own unless told otherwise.
  const same = option(request, "same_base", request.salt === null);
  const base2 = same ? base1 : await openBase(request, 100);
  return { bases: [base1, base2], networks: [openNetwork(request, base1, 1), openNetwork(request, base2, 2)] };
}

function stepOptions(request: ProbeRequest, accumulation: StepOptions["accumulation"]): StepOptions {
  const form = choice(request, "form", ["clean", "original"] as const) as StepForm;
  return {
    form,
    orthogonality: {
      on: option(request, "orthogonality", true),
      textMask: choice(request, "text_mask", ["1-I", "I"] as const) as TextMask,
      textCoefficient: option(request, "lambda_te", 1),
      unetCoefficient: option(request, "lambda_unet", 1),
    },
    vParameterization: option(request, "v_parameterization", false),
    maxGradNorm: option(request, "max_grad_norm", 1),
    accumulation,
    noise: "fed",
    optimizer: {
      beta1: numbersOption(request, "betas", [adamw.beta1])[0],
      beta2: numbersOption(request, "betas", [0, adamw.beta2])[1],
      epsilon: option(request, "eps", adamw.epsilon),
      weightDecay: option(request, "weight_decay", adamw.weightDecay),
    },
    allFigures: true,
  };
}

function choice(request: ProbeRequest, name: string, known: readonly string[]): string {
  const value = option(request, name, known[0]);
  if (!known.includes(value)) {
    throw new RangeError(
      `Cannot probe: option ${name} is ${JSON.stringify(value)}, must be one of ${known.join(", ")}`,
    );
  }
  return value;
}

/** One micro-batch of a set: each network's shape, and the feeds but for the learning rates. */
function microBatch(request: ProbeRequest, prefix: string, index: number, alphas: ArrayLike<number>) {
  const { input } = request, feeds: Record<string, ArrayLike<number>> = {};
  const timesteps = Array.from(entryOf(tensorOf(input, `${prefix}timesteps`), index).data);
  const shapes = ([1, 2] as const).map((k) => {
    const entry = (name: string) => entryOf(tensorOf(input, `${prefix}${name}_${k}`), index);
    const latents = toNhwc(entry("latents")), noise = toNhwc(entry("noise")), ids = entry("input_ids");
    const [batch, height, width] = latents.shape;
    const own = timesteps.slice(0, batch), alpha = own.map((t) => alphas[t]);
    const gamma = option(request, "min_snr_gamma", 0);
    const snr = gamma ? minSnrWeights(alpha.map((a) => a / (1 - a)), { gamma }) : alpha.map(() => 1);
    const weights = numbersOption(request, `loss_weights_${k}`, alpha.map(() => 1)).slice(0, batch);
    if (weights.length !== batch) {
      throw new RangeError(
        `Cannot probe: loss_weights_${k} has ${weights.length} numbers, the batch has ${batch} samples`,
      );
    }
    Object.assign(feeds, {
      [`latents_${k}`]: latents.data,
      [`noise_${k}`]: noise.data,
      [`ids_${k}`]: ids.data,
      [`timesteps_${k}`]: own,
      [`signal_${k}`]: alpha.map(Math.sqrt),
      [`sigma_${k}`]: alpha.map((a) => Math.sqrt(1 - a)),
      [`loss_weights_${k}`]: weights,
      [`mse_weights_${k}`]: weights.map((weight, i) => weight * snr[i]),
    });
    return { batch, height, width, tokenRows: ids.shape[0] / batch };
  });
  return { shapes, feeds };
}

interface StepResult {
  readonly figures: Map<string, ArrayLike<number>>;
  readonly gradients: Map<string, Float32Array>;
}

class Stepper {
  private readonly states: readonly AdamWState[];
  private updates = 0;

  constructor(private readonly request: ProbeRequest, private readonly pair: Pair) {
    this.states = pair.networks.map((network) => new AdamWState(network));
  }

  get frozen(): boolean {
    return option(this.request, "frozen", false);
  }

  /** One optimizer step over micro-batches `first`, `first + 1`, …. */
  async step(prefix: string, first: number, learningRate: number): Promise<StepResult> {
    const { device } = this.request, count = option(this.request, "accumulation", 1);
    this.updates++;
    const alphas = this.pair.bases[0].schedule.alphasCumprod;
    const result: StepResult = { figures: new Map(), gradients: new Map() };
    for (let micro = 0; micro < count; micro++) {
      const isLast = micro === count - 1;
      const { shapes, feeds } = microBatch(this.request, prefix, first + micro, alphas);
      const networks = this.pair.networks.map((lora, k): StepNetwork => ({
        number: k === 0 ? 1 : 2,
        base: this.pair.bases[k],
        lora,
        optimizer: this.states[k],
        shape: shapes[k],
        trains: k === 1 || !this.frozen,
      }));
      const options = stepOptions(this.request, { count, isLast });
      const graph = traceStep(networks, options);
      const outputs: Record<string, Tensor> = isLast ? { ...graph.figures, ...graph.gradients } : {};
      const compiled = await device.compile(plan({ outputs, effects: graph.effects }));
      const { beta1, beta2 } = options.optimizer;
      const rate = [learningRate, 1 - beta1 ** this.updates, Math.sqrt(1 - beta2 ** this.updates)];
      const all: Record<string, ArrayLike<number>> = { ...feeds, rate_1: rate, rate_2: rate };
      compiled.run(Object.fromEntries([...compiled.program.inputs.keys()].map((name) => [name, all[name]])));
      if (isLast) {
        const read = await compiled.read(...Object.keys(outputs));
        for (const name of Object.keys(graph.figures)) result.figures.set(name, read[name]);
        for (const name of Object.keys(graph.gradients)) result.gradients.set(name, read[name] as Float32Array);
      }
      device.release(compiled);
    }
    return result;
  }

  /** Each network's tensors from flat ones, under their names in files. */
  tensors(k: number, flat: Float32Array): [string, { shape: readonly number[]; data: Float32Array }][] {
    return [...this.pair.networks[k].unflatten(flat)].flatMap(([{ down, up }, values]) => [
      [down.name, { shape: down.shape, data: values.down }],
      [up.name, { shape: up.shape, data: values.up }],
    ]);
  }
}

function figureTensors({ figures, gradients }: StepResult): TensorSet {
  const set: TensorSet = new Map();
  for (const [name, values] of figures) {
    if (name.startsWith("norm_")) set.set(`norms.${name}_at_clip`, scalar(values[0]));
    else set.set(`terms.${name}`, { shape: [values.length], data: Float32Array.from(values) });
  }
  for (const k of [1, 2]) {
    const given = gradients.get(`gradient_${k}`);
    if (!given) set.set(`norms.norm_${k}_at_clip`, scalar(0));
    set.set(
      `norms.norm_${k}_given_to_optimizer`,
      scalar(Math.sqrt((given ?? new Float32Array(0)).reduce((sum, g) => sum + g * g, 0))),
    );
  }
  const loss = (k: number) => figures.get(`loss_${k}`)![0];
  set.set("terms.total", scalar(Math.fround(loss(1) + loss(2))));
  return set;
}

/** One dual step: what the optimizers get as `network_<k>.<tensor>`, every figure as `terms.…` and `norms.…`; weights stay as they were. */
export async function probeDualStep(request: ProbeRequest): Promise<TensorSet> {
  const pair = await openPair(request), output: TensorSet = new Map();
  for (const prefix of setsOf(request.input, "latents_1")) {
    const accumulation = option(request, "accumulation", 1);
    if (tensorOf(request.input, `${prefix}latents_1`).shape[0] < accumulation) continue;
    const stepper = new Stepper(request, pair);
    const result = await stepper.step(prefix, 0, 0);
    for (const [name, tensor] of figureTensors(result)) output.set(prefix + name, tensor);
    for (const k of [0, 1]) {
      const flat = result.gradients.get(`gradient_${k + 1}`);
      if (!flat) continue;
      for (const [name, tensor] of stepper.tensors(k, flat)) output.set(`${prefix}network_${k + 1}.${name}`, tensor);
    }
  }
  return output;
}

/** A whole run, one batch of the input a step: `step_<n>.terms.…` and `.norms.…` for every step, weights after those in `save_steps`. */
export async function probeDualRun(request: ProbeRequest): Promise<TensorSet> {
  const pair = await openPair(request), output: TensorSet = new Map(), stepper = new Stepper(request, pair);
  const batches = tensorOf(request.input, "latents_1").shape[0], accumulation = option(request, "accumulation", 1);
  const given = typeof request.options.steps === "number" ? request.options.steps : Infinity;
  const steps = Math.min(given, Math.floor(batches / accumulation));
  const saved = new Set(numbersOption(request, "save_steps", [steps]));
  for (let step = 1; step <= steps; step++) {
    const result = await stepper.step("", (step - 1) * accumulation, option(request, "learning_rate", 1e-3));
    for (const [name, tensor] of figureTensors(result)) output.set(`step_${step}.${name}`, tensor);
    if (!saved.has(step)) continue;
    for (const [k, network] of pair.networks.entries()) {
      if (k === 0 && stepper.frozen) continue;
      const flat = await request.device.download(network.weights) as Float32Array;
      for (const [name, tensor] of stepper.tensors(k, flat)) {
        output.set(`step_${step}.network_${k + 1}.${name}`, tensor);
      }
    }
  }
  return output;
}
