import { type Device, elementCount, input, plan, Variable, window } from "../../engine/mod.ts";
import { uniformByRule } from "../../formats/weights_by_rule.ts";
import { toCheckpointLayout, toEngineLayout } from "../../models/weights.ts";
import type { OptimizerArguments } from "../../training/optimizers/arguments.ts";
import type { Optimizer, TrainedTensor, TrainedWeights, UpdatePart } from "../../training/optimizers/optimizer.ts";
import { makeOptimizer } from "../../training/optimizers/optimizers.ts";
import { haltFlag } from "../../training/step_graph.ts";
import type { NamedTensor, TensorSet } from "./tensors.ts";

/** One optimizer's trajectory. */
export interface OptimizerRun {
  /** By sd-scripts' name. */
  readonly optimizer: string;
  readonly arguments: OptimizerArguments;
  /** One rate, or one for each step; null where the optimizer has its own. */
  readonly lr: number | readonly number[] | null;
}

/** What a trajectory runs over. */
export interface TrajectoryOptions {
  readonly shapes: Readonly<Record<string, readonly number[]>>;
  readonly steps: number;
  /** Of parameters and gradients by rule. */
  readonly salt: number;
  /** Names of the tensors with which a further part of the weights begins: parts are updated by dispatches of their own. */
  readonly cuts?: readonly string[];
}

/** An optimizer's run: every tensor after every step, `[steps, …]`, and every figure that the optimizer logs, `[steps]`. */
export async function trajectory(
  device: Device,
  { optimizer: name, arguments: given, lr }: OptimizerRun,
  { shapes, steps, salt, cuts = [] }: TrajectoryOptions,
): Promise<TensorSet> {
  const weights = weightsOf(shapes), optimizer = makeOptimizer({ name, arguments: given }, weights);
  const { program, figures, halted } = updateProgram(weights, optimizer, cuts);
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
  for (const tensor of weights.tensors) {
    output.set(tensor.name, stack(history.map((values) => valuesOf(tensor, values)), tensor.shape));
  }
  figures.forEach((figure, i) => output.set(figure, stack(logged.map((values) => values.subarray(i, i + 1)), [])));
  return output;
}

function stack(parts: readonly Float32Array[], shape: readonly number[]): NamedTensor {
  const size = elementCount(shape), data = new Float32Array(parts.length * size);
  parts.forEach((values, i) => data.set(values, i * size));
  return { shape: [parts.length, ...shape], data };
}

/** A tensor with a name. */
export interface TrajectoryTensor extends TrainedTensor {
  readonly name: string;
}

/** Weights of named tensors. */
export interface NamedWeights extends TrainedWeights {
  readonly tensors: readonly TrajectoryTensor[];
}

/** Tensors laid out as a network's: 3×3 ones as convolutions' weights. */
export function weightsOf(shapes: Readonly<Record<string, readonly number[]>>): NamedWeights {
  let size = 0;
  const tensors = Object.entries(shapes).map(([name, shape]): TrajectoryTensor => {
    const offsetElements = size, sizeElements = elementCount(shape);
    size = Math.ceil((size + sizeElements) / 64) * 64;
    return { name, shape, layout: shape[2] > 1 ? "convolution" : "same", offsetElements, sizeElements };
  });
  return { weights: new Variable("weights", { shape: [size], dtype: "f32" }), tensors };
}

/** Flat numbers from each tensor's, which are in PyTorch's order. */
export function flat(
  { weights, tensors }: NamedWeights,
  valuesOf: (tensor: TrajectoryTensor) => Float32Array,
): Float32Array {
  const all = new Float32Array(weights.shape[0]);
  for (const tensor of tensors) {
    all.set(toEngineLayout(valuesOf(tensor), tensor.shape, tensor.layout), tensor.offsetElements);
  }
  return all;
}

/** A tensor's numbers, in PyTorch's order, from flat ones. */
export function valuesOf(
  { shape, layout, offsetElements, sizeElements }: TrainedTensor,
  flat: Float32Array,
): Float32Array {
  return toCheckpointLayout(flat.slice(offsetElements, offsetElements + sizeElements), shape, layout);
}

/** One update as training has it, from the inputs `gradient` and `rate`, without clipping. */
export function updateProgram({ weights, tensors }: NamedWeights, optimizer: Optimizer, cuts: readonly string[] = []) {
  const size = weights.shape[0], gradient = input("gradient", [size]), halted = haltFlag(), rate = input("rate", [1]);
  const starts = [0, ...tensors.filter(({ name }) => cuts.includes(name)).map(({ offsetElements }) => offsetElements)];
  const parts = starts.map((start, i): UpdatePart => {
    const length = (starts[i + 1] ?? size) - start, own = window(gradient, start, [length]);
    return { start, length, rate, gradient: () => own };
  });
  const { effects, figures } = optimizer.update({ weights: weights.tensor, parts, halted: halted.tensor });
  return { program: plan({ effects, outputs: figures }), figures: Object.keys(figures), halted };
}

/** Parameters before the first step. */
export function parameterByRule(
  { name, sizeElements }: Pick<TrajectoryTensor, "name" | "sizeElements">,
  salt: number,
): Float32Array {
  return uniformByRule(`optimizer.parameter.${name}`, sizeElements, salt).map((u) => Math.fround(0.1) * u);
}

/** `0.02 · (0.5 · direction + noise)`, each operation rounded to f32. */
export function gradientByRule(
  { name, sizeElements }: Pick<TrajectoryTensor, "name" | "sizeElements">,
  step: number,
  salt: number,
): Float32Array {
  const direction = uniformByRule(`optimizer.direction.${name}`, sizeElements, salt);
  const noise = uniformByRule(`optimizer.gradient.${step}.${name}`, sizeElements, salt);
  return noise.map((u, i) => Math.fround(0.02) * Math.fround(0.5 * direction[i] + u));
}
