import { elementCount, input, plan, Variable } from "../../engine/mod.ts";
import { uniformByRule } from "../../formats/weights_by_rule.ts";
import type { OptimizerArguments } from "../../training/optimizers/arguments.ts";
import type { TrainedTensor, TrainedWeights } from "../../training/optimizers/optimizer.ts";
import { haltFlag } from "../../training/step_graph.ts";
import { makeOptimizer, optimizerByName } from "../../training/optimizers/optimizers.ts";
import type { ProbeRequest } from "./context.ts";
import { learningRateOption } from "./dual.ts";
import { countOption, option, type ProbeOptions } from "./options.ts";
import type { NamedTensor, TensorSet } from "./tensors.ts";

/** Arguments that may stand beside the settings. */
const flatArguments = ["betas", "eps", "weight_decay"];

/** Options of `optimizer`. */
export const optimizerOptions = [
  "optimizer",
  "learning_rate",
  "lr",
  ...flatArguments,
  "arguments",
  "steps",
  "salt",
  "runs",
];

/** One optimizer's trajectory. */
export interface OptimizerRun {
  /** By sd-scripts' name. */
  readonly optimizer: string;
  readonly arguments: OptimizerArguments;
  /** One rate, or one for each step; null where the optimizer has its own. */
  readonly lr: number | readonly number[] | null;
}

/** Classes of the goldens' packages by sd-scripts' names. */
const classes: Readonly<Record<string, string>> = {
  "torch.AdamW": "AdamW",
  "torch.SGD": "SGDNesterov",
  "lion_pytorch.Lion": "Lion",
  "prodigyopt.Prodigy": "Prodigy",
  ...Object.fromEntries(
    ["AdaGrad", "Adam", "AdamPreprint", "Adan", "AdanIP", "Lion", "SGD"].map((
      name,
    ) => [`dadaptation.DAdapt${name}`, `DAdapt${name}`]),
  ),
};

/** Runs of which a name alone is enough. */
const presets: Readonly<Record<string, OptimizerRun>> = {
  adamw: { optimizer: "AdamW", arguments: {}, lr: 1e-3 },
  adamw_options: {
    optimizer: "AdamW",
    arguments: { betas: [0.8, 0.95], weight_decay: 0.1, eps: 1e-6 },
    lr: 5e-3,
  },
  adamw_no_decay: { optimizer: "AdamW", arguments: { weight_decay: 0 }, lr: 1e-3 },
};

/** Options from the optimizers' golden JSON, `{<run>: {class, arguments, lr}}`: its runs, as `runs`. */
export function optimizerGolden(json: unknown): unknown {
  const options: Record<string, unknown> = {}, runs: Record<string, OptimizerRun> = {};
  for (const [name, value] of Object.entries(json as Record<string, unknown>)) {
    const about = value as { class?: string; arguments?: Record<string, unknown>; lr?: unknown[] } | null;
    if (typeof about?.class !== "string") {
      options[name] = value;
      continue;
    }
    const optimizer = classes[about.class];
    if (!optimizer) continue;
    const { lr, nesterov: _, ...given } = about.arguments ?? {};
    // Adafactor's list has a rate for each tensor, which are results.
    const rates = about.lr?.every((rate) => typeof rate === "number") ? about.lr as number[] : lr as number | null;
    runs[name] = { optimizer, arguments: given as OptimizerArguments, lr: rates };
  }
  return Object.keys(runs).length > 0 ? { ...options, runs } : options;
}

/** The goldens' tensors, all in one parameter group. */
const shapes: Readonly<Record<string, readonly number[]>> = { a: [7, 5], b: [33], c: [300, 20] };

/**
 * Optimizers over 20 steps, from parameters and with gradients by rule: `<run>.a` and `.b` with every step `[steps, …]`, `.c.step_20` the last, and every
 * figure that the optimizer logs, such as `<run>.d`, with every step. Without settings AdamW's runs of the goldens.
 *
 * @throws {RangeError} If there is no such optimizer.
 */
export async function probeOptimizer(
  request: Pick<ProbeRequest, "device" | "options" | "salt">,
): Promise<TensorSet> {
  const output: TensorSet = new Map();
  for (const [name, run] of Object.entries(runsOf(request))) {
    for (const [tensor, values] of await trajectory(request, run)) output.set(`${name}.${tensor}`, values);
  }
  return output;
}

function runsOf({ options }: Pick<ProbeRequest, "options">): Readonly<Record<string, OptimizerRun>> {
  const told = Object.keys(options).some((key) => !["steps", "salt", "runs"].includes(key));
  if (!told) return (options.runs ?? presets) as Record<string, OptimizerRun>;
  const name = option(options, "optimizer", "adamw").toLowerCase(), preset = presets[name];
  const beside = Object.fromEntries(flatArguments.filter((key) => key in options).map((key) => [key, options[key]]));
  const given = { ...preset?.arguments, ...beside, ...(options.arguments ?? {}) } as OptimizerArguments;
  const fallback = typeof preset?.lr === "number" ? preset.lr : 1e-3;
  const lr = options.lr === null ? null : learningRateOption({ options: { lr: fallback, ...options } as ProbeOptions });
  return { [name]: { optimizer: preset?.optimizer ?? optimizerByName(name).name, arguments: given, lr } };
}

/** One run's tensors, by their names in the goldens without the run's. */
export async function trajectory(
  request: Pick<ProbeRequest, "device" | "options" | "salt">,
  { optimizer: name, arguments: given, lr }: OptimizerRun,
): Promise<TensorSet> {
  const { device, options } = request, salt = option(options, "salt", request.salt ?? 0);
  const steps = countOption(options, "steps", 20), weights = weightsOf(shapes);
  const optimizer = makeOptimizer({ name, arguments: given }, weights);
  const { program, figures, halted } = updateProgram(weights, optimizer);
  device.upload(weights.weights, flat(weights, (tensor) => parameterByRule(tensor, salt)));
  for (const [variable, values] of optimizer.initial) device.upload(variable, values);
  const compiled = await device.compile(program), history: Float32Array[] = [], logged: Float32Array[] = [];
  for (let step = 1; step <= steps; step++) {
    const rate = typeof lr === "number" ? lr : lr?.[step - 1] ?? 0;
    compiled.run({ gradient: flat(weights, (tensor) => gradientByRule(tensor, step, salt)), rate: [rate] });
    history.push(await device.download(weights.weights) as Float32Array);
    const read = await compiled.read(...figures);
    logged.push(Float32Array.from(figures, (figure) => read[figure][0]));
  }
  device.release(compiled);
  device.free([weights.weights, ...Object.values(optimizer.state), ...optimizer.initial.keys(), halted]);

  const output: TensorSet = new Map();
  for (const { name, shape, offsetElements, sizeElements } of weights.tensors) {
    const parts = history.map((values) => values.subarray(offsetElements, offsetElements + sizeElements));
    if (name === "c") output.set(`c.step_${steps}`, { shape, data: parts.at(-1)!.slice() });
    else output.set(name, stack(parts, shape));
  }
  figures.forEach((figure, i) => output.set(figure, stack(logged.map((values) => values.subarray(i, i + 1)), [])));
  return output;
}

function stack(parts: readonly Float32Array[], shape: readonly number[]): NamedTensor {
  const size = elementCount(shape), data = new Float32Array(parts.length * size);
  parts.forEach((values, i) => data.set(values, i * size));
  return { shape: [parts.length, ...shape], data };
}

/** Weights of named tensors. */
export interface NamedWeights extends TrainedWeights {
  readonly tensors: readonly (TrainedTensor & { readonly name: string })[];
}

/** Tensors laid out as a network's. */
export function weightsOf(shapes: Readonly<Record<string, readonly number[]>>): NamedWeights {
  let size = 0;
  const tensors = Object.entries(shapes).map(([name, shape]) => {
    const offsetElements = size, sizeElements = elementCount(shape);
    size = Math.ceil((size + sizeElements) / 64) * 64;
    return { name, shape, layout: "same" as const, offsetElements, sizeElements };
  });
  return { weights: new Variable("weights", { shape: [size], dtype: "f32" }), tensors };
}

/** Flat numbers from each tensor's. */
export function flat(
  { weights, tensors }: NamedWeights,
  valuesOf: (tensor: NamedWeights["tensors"][number]) => Float32Array,
): Float32Array {
  const all = new Float32Array(weights.shape[0]);
  for (const tensor of tensors) all.set(valuesOf(tensor), tensor.offsetElements);
  return all;
}

/** One update as training has it, from the inputs `gradient` and `rate`, without clipping. */
export function updateProgram({ weights }: TrainedWeights, optimizer: ReturnType<typeof makeOptimizer>) {
  const size = weights.shape[0], gradient = input("gradient", [size]), halted = haltFlag();
  const part = { start: 0, length: size, rate: input("rate", [1]), gradient: () => gradient };
  const { effects, figures } = optimizer.update({
    weights: weights.tensor,
    parts: [part],
    halted: halted.tensor,
  });
  return { program: plan({ effects, outputs: figures }), figures: Object.keys(figures), halted };
}

/** Parameters before the first step. */
export function parameterByRule({ name, sizeElements }: NamedWeights["tensors"][number], salt: number): Float32Array {
  return uniformByRule(`optimizer.parameter.${name}`, sizeElements, salt).map((u) => Math.fround(0.1) * u);
}

/** `0.02 · (0.5 · direction + noise)`, each operation rounded to f32. */
export function gradientByRule(
  { name, sizeElements }: NamedWeights["tensors"][number],
  step: number,
  salt: number,
): Float32Array {
  const direction = uniformByRule(`optimizer.direction.${name}`, sizeElements, salt);
  const noise = uniformByRule(`optimizer.gradient.${step}.${name}`, sizeElements, salt);
  return noise.map((u, i) => Math.fround(0.02) * Math.fround(0.5 * direction[i] + u));
}
