import { type CompiledProgram, type HostArray, plan, type Tensor } from "../../engine/mod.ts";
import type { LoraNetwork } from "../../lora/network.ts";
import { toCheckpointLayout } from "../../models/weights.ts";
import type { BaseModel } from "../../models/base_model.ts";
import type { OptimizerArguments } from "../../training/optimizers/arguments.ts";
import { rateFeed } from "../../training/step_update.ts";
import {
  makeUpdater,
  type NetworkSettings,
  type NetworkUpdater,
  updaterVariables,
} from "../../training/network_settings.ts";
import { haltFlag, type StepGraph, type StepNetwork, type StepOptions, traceStep } from "../../training/step_graph.ts";
import {
  activationsOption,
  checkIds,
  neededFeeds,
  networkOptions,
  openBase,
  openNetwork,
  type ProbeRequest,
} from "./context.ts";
import { traceComponents } from "./components.ts";
import { batchOptions, microBatch } from "./dual_batch.ts";
import { choiceOption, countOption, numbersOption, option, positiveOption } from "./options.ts";
import { type NamedTensor, scalar, setsOf, tensorOf, type TensorSet, toNchw } from "./tensors.ts";

/** Options of `dual-step`. */
export const dualStepOptions = [
  ...networkOptions,
  ...batchOptions,
  "same_base",
  "clip_skip",
  "form",
  "frozen",
  "orthogonality",
  "text_mask",
  "lambda_te",
  "lambda_unet",
  "lambda_kld",
  "v_parameterization",
  "max_grad_norm",
  "accumulation",
  "gradient_checkpointing",
  "activations",
  "components",
];

/** AdamW's arguments that may stand among the options, under PyTorch's names. */
const adamwArguments = ["betas", "eps", "weight_decay"];

/** Options of `dual-run`. */
export const dualRunOptions = [
  ...dualStepOptions,
  "steps",
  "save_steps",
  "learning_rate",
  "lr",
  ...adamwArguments,
];

/** How a network of a probe is trained: by AdamW at a constant rate. */
function settingsOf({ options }: Pick<ProbeRequest, "options">): NetworkSettings {
  const given = Object.fromEntries(
    adamwArguments.filter((name) => name in options).map((name) => [name, options[name]]),
  );
  return {
    learningRate: learningRateOption({ options }),
    optimizer: { arguments: given as OptimizerArguments },
    maxGradNorm: positiveOption(options, "max_grad_norm", 1),
  };
}

/** The learning rate, also under PyTorch's name. */
export function learningRateOption({ options }: Pick<ProbeRequest, "options">): number {
  return positiveOption(options, "learning_rate", positiveOption(options, "lr", 1e-3));
}

/**
 * One dual step: what the optimizers get as `network_<k>.<tensor>`, every figure as `terms.…` and `norms.…`, the hidden layers as `hook_text_<k>` and
 * `hook_unet_<k>`, and with the option `components` what the gradients are made of; weights stay as they were.
 */
export async function probeDualStep(request: ProbeRequest): Promise<TensorSet> {
  const output: TensorSet = new Map(), accumulation = countOption(request.options, "accumulation", 1);
  const sets = setsOf(request.input, "latents_1");
  const long = sets.filter((prefix) => tensorOf(request.input, `${prefix}latents_1`).shape[0] >= accumulation);
  if (long.length === 0) {
    throw new RangeError(`Cannot probe: option accumulation is ${accumulation}, no set of the input has as many steps`);
  }
  const pair = await Pair.open(request);
  try {
    for (const prefix of long) {
      const stepper = new Stepper(request, pair, { withParts: true });
      const result = await stepper.step(prefix, 0, 0);
      stepper.free();
      for (const [name, tensor] of result.parts) output.set(prefix + name, tensor);
      for (const [name, tensor] of figureTensors(result)) output.set(prefix + name, tensor);
      for (const [k, flat] of result.gradients.entries()) {
        if (flat) pair.addTensors(output, `${prefix}network_${k + 1}.`, k, flat);
      }
    }
  } finally {
    pair.free();
  }
  return output;
}

/**
 * A whole run for each set of the input that is long enough, one batch a step: `step_<n>.terms.…` and `.norms.…` for every step, weights after those in
 * `save_steps`.
 */
export async function probeDualRun(request: ProbeRequest): Promise<TensorSet> {
  const { input, options } = request, output: TensorSet = new Map();
  const accumulation = countOption(options, "accumulation", 1), sets = setsOf(input, "latents_1");
  const mostOf = (prefix: string) => Math.floor(tensorOf(input, `${prefix}latents_1`).shape[0] / accumulation);
  const most = Math.max(...sets.map(mostOf)), saved = numbersOption(options, "save_steps", []);
  const wanted = countOption(options, "steps", Math.max(1, ...saved));
  if (wanted > most) {
    throw new RangeError(`Cannot probe: step ${wanted} is asked for, the input has batches for ${most} steps`);
  }
  for (const prefix of sets) {
    const own = mostOf(prefix), steps = options.steps === undefined ? own : wanted;
    if (own < wanted) continue;
    const never = saved.find((step) => !Number.isInteger(step) || step < 1 || step > steps);
    if (never !== undefined) {
      throw new RangeError(`Cannot probe: option save_steps has ${never}, must be whole numbers from 1 to ${steps}`);
    }
    await run(request, prefix, steps, saved.length > 0 ? saved : [steps], output);
  }
  return output;
}

async function run(
  request: ProbeRequest,
  prefix: string,
  steps: number,
  saved: readonly number[],
  output: TensorSet,
): Promise<void> {
  const { device, options } = request, accumulation = countOption(options, "accumulation", 1);
  const pair = await Pair.open(request);
  const stepper = new Stepper(request, pair, { withParts: false });
  try {
    for (let step = 1; step <= steps; step++) {
      const result = await stepper.step(prefix, (step - 1) * accumulation, 1);
      for (const [name, tensor] of figureTensors(result)) output.set(`${prefix}step_${step}.${name}`, tensor);
      if (!saved.includes(step)) continue;
      for (const [k, network] of pair.networks.entries()) {
        if (k === 0 && stepper.frozen) continue;
        const flat = await device.download(network.weights) as Float32Array;
        pair.addTensors(output, `${prefix}step_${step}.network_${k + 1}.`, k, flat);
      }
    }
  } finally {
    stepper.free();
    pair.free();
  }
}

/** Two networks with their bases, on the device. */
class Pair {
  private constructor(
    private readonly request: ProbeRequest,
    readonly bases: readonly [BaseModel, BaseModel],
    readonly networks: readonly [LoraNetwork, LoraNetwork],
  ) {}

  static async open(request: ProbeRequest): Promise<Pair> {
    const base1 = await openBase(request);
    // A folder's own weights are one base for both; by rule each network has its own unless told otherwise.
    const same = option(request.options, "same_base", request.salt === null);
    if (!same && request.salt === null) {
      throw new RangeError("Cannot probe: option same_base is false, but a folder's own weights are one base");
    }
    const base2 = same ? base1 : await openBase(request, 100);
    return new Pair(request, [base1, base2], [openNetwork(request, base1, 1), openNetwork(request, base2, 2)]);
  }

  /** A network's tensors from flat ones, under their names in files. */
  addTensors(output: TensorSet, prefix: string, k: number, flat: Float32Array): void {
    for (const [{ down, up }, values] of this.networks[k].unflatten(flat)) {
      output.set(prefix + down.name, { shape: down.shape, data: values.down });
      output.set(prefix + up.name, { shape: up.shape, data: values.up });
    }
  }

  free(): void {
    for (const base of new Set(this.bases)) base.free(this.request.device);
    this.request.device.free(this.networks.map(({ weights }) => weights));
  }
}

interface StepResult {
  readonly figures: ReadonlyMap<string, ArrayLike<number>>;
  /** What each network's optimizer got, flat; null for a frozen one. */
  readonly gradients: readonly [Float32Array | null, Float32Array];
  /** Hidden layers, components and their norms, under the goldens' names. */
  readonly parts: TensorSet;
}

interface CompiledStep {
  readonly graph: StepGraph;
  readonly outputs: Readonly<Record<string, Tensor>>;
  /** Outputs that only one dual step has. */
  readonly parts: Readonly<Record<string, Tensor>>;
  readonly program: CompiledProgram;
}

class Stepper {
  readonly frozen: boolean;
  private readonly updaters: readonly NetworkUpdater[];
  private readonly halted = haltFlag();
  private readonly accumulation: number;
  private readonly compiled = new Map<string, CompiledStep>();

  constructor(
    private readonly request: ProbeRequest,
    private readonly pair: Pair,
    private readonly settings: { readonly withParts: boolean },
  ) {
    this.updaters = pair.networks.map((network) => makeUpdater(network, settingsOf(request)));
    this.frozen = option(request.options, "frozen", false);
    this.accumulation = countOption(request.options, "accumulation", 1);
  }

  /** One optimizer step over micro-batches `first`, `first + 1`, …. */
  async step(prefix: string, first: number, multiplier: 0 | 1): Promise<StepResult> {
    const { input, options } = this.request, { schedule } = this.pair.bases[0];
    const [rates_1, rates_2] = this.updaters.map(({ groups }) => rateFeed(groups, multiplier));
    for (let micro = 0;; micro++) {
      const { shapes, feeds } = microBatch(input, options, prefix, first + micro, schedule);
      const isLast = micro === this.accumulation - 1;
      this.pair.bases.forEach(({ textConfig }, i) => {
        checkIds(`${prefix}input_ids_${i + 1}`, feeds[`ids_${i + 1}`], textConfig.vocabularySize);
      });
      const { graph, outputs, parts, program } = await this.compile(shapes, isLast);
      program.run(neededFeeds(program.program, { ...feeds, rates_1, rates_2 }));
      if (!isLast) continue;
      const read = await program.read(...Object.keys(outputs));
      const gradient = (k: number) => (read[`gradient_${k}`] ?? null) as Float32Array;
      return {
        figures: new Map(Object.keys(graph.figures).map((name) => [name, read[name]])),
        gradients: [gradient(1), gradient(2)],
        parts: this.partTensors(parts, read),
      };
    }
  }

  free(): void {
    const { device } = this.request;
    for (const { program } of this.compiled.values()) device.release(program);
    device.free([...this.updaters.flatMap(updaterVariables), this.halted]);
  }

  private async compile(shapes: readonly StepNetwork["shape"][], isLast: boolean): Promise<CompiledStep> {
    const key = JSON.stringify([shapes, isLast]), known = this.compiled.get(key);
    if (known) return known;
    const networks = this.pair.networks.map((lora, k): StepNetwork => ({
      number: k === 0 ? 1 : 2,
      base: this.pair.bases[k],
      lora,
      ...this.updaters[k],
      shape: shapes[k],
      trains: k === 1 || !this.frozen,
    }));
    const graph = traceStep(networks, this.options(isLast));
    const parts = isLast && this.settings.withParts ? this.traceParts(graph, networks) : {};
    const outputs = isLast ? { ...graph.figures, ...graph.gradients, ...parts } : {};
    // What is read of a single step comes of the weights before the update, so there the update is left out.
    const effects = isLast && this.settings.withParts ? [] : graph.effects;
    const program = await this.request.device.compile(plan({ outputs, effects }));
    const made = { graph, outputs, parts, program };
    this.compiled.set(key, made);
    return made;
  }

  private traceParts(graph: StepGraph, networks: readonly StepNetwork[]): Record<string, Tensor> {
    const { norms, gradients } = traceComponents(graph, networks);
    const named = Object.entries(norms).map(([name, tensor]) => [`norms.${name}`, tensor]);
    const components = option(this.request.options, "components", false) ? gradients : {};
    return { ...graph.hidden, ...components, ...Object.fromEntries(named) };
  }

  private partTensors(parts: Readonly<Record<string, Tensor>>, read: Readonly<Record<string, HostArray>>): TensorSet {
    const lora = new Map(this.pair.networks[0].tensors.map((tensor) => [tensor.name, tensor]));
    return new Map(
      Object.entries(parts).map(([name, { shape }]): [string, NamedTensor] => {
        const data = read[name] as Float32Array, weight = lora.get(name.replace(/^\w+\.network_\d\./, ""));
        if (weight) {
          return [name, { shape: weight.shape, data: toCheckpointLayout(data, weight.shape, weight.layout) }];
        }
        if (shape.length === 4) return [name, toNchw({ shape, data })];
        return [name, { shape: shape.length === 0 ? [1] : shape, data }];
      }),
    );
  }

  private options(isLast: boolean): StepOptions {
    const { options } = this.request;
    return {
      form: choiceOption(options, "form", ["clean", "original"]),
      orthogonality: {
        on: option(options, "orthogonality", true),
        textMask: choiceOption(options, "text_mask", ["1-I", "I"]),
        textCoefficient: option(options, "lambda_te", 1),
        unetCoefficient: option(options, "lambda_unet", 1),
        divergenceCoefficient: option(options, "lambda_kld", 0),
      },
      vParameterization: option(
        options,
        "v_parameterization",
        this.pair.bases[0].schedule.predictionType === "v_prediction",
      ),
      accumulation: { count: this.accumulation, isLast },
      noise: "fed",
      allFigures: true,
      gradientCheckpointing: option(options, "gradient_checkpointing", false),
      activations: activationsOption(this.request),
      halted: this.halted,
    };
  }
}

/** Figures under the names of a golden's JSON. */
function figureTensors({ figures, gradients }: StepResult): TensorSet {
  const set: TensorSet = new Map();
  for (const [name, values] of figures) {
    if (!name.startsWith("norm_")) {
      set.set(`terms.${name}`, { shape: [values.length], data: Float32Array.from(values) });
    }
  }
  const loss = (k: number) => figures.get(`loss_${k}`)![0];
  set.set("terms.total", scalar(loss(1) + loss(2)));
  for (const [k, given] of gradients.entries()) {
    const norm = Math.sqrt((given ?? new Float32Array(0)).reduce((sum, value) => sum + value * value, 0));
    set.set(`norms.norm_${k + 1}_at_clip`, scalar(figures.get(`norm_${k + 1}`)?.[0] ?? 0));
    set.set(`norms.norm_${k + 1}_given_to_optimizer`, scalar(norm));
  }
  return set;
}
