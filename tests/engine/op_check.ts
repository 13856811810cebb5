import { deepEqual, equal, ok } from "node:assert/strict";
import { dispatchesOf } from "../../engine/gpu/dispatches.ts";
import { type AnyOp, inputNames, type Sample } from "../../engine/graph/op.ts";
import {
  add,
  type Device,
  type DType,
  elementCount,
  type FloatFormat,
  gradients,
  input,
  multiply,
  plan,
  square,
  storingActivations,
  sum,
  type Tensor,
  type TensorType,
  Variable,
} from "../../engine/mod.ts";

import { decodeFloat32, encodeFloat32 } from "../../formats/element_types.ts";

/** An op, or a function composed of several, which has neither shape rule nor kernel of its own. */
type Checked = Pick<AnyOp, "name" | "inputs" | "samples"> & Partial<AnyOp>;

/** A function that adds an op, or several, to the graph. */
export type AnyOpFunction = ((...args: never[]) => Tensor | Tensor[]) & { readonly definition: Checked };
// deno-lint-ignore no-explicit-any
export type AnySample = Sample<any, any>;

/** Numbers in [low, high) that are the same in every run: murmur3's finalizer of a counter. */
export function numbers(count: number, seed: number, [low, high]: readonly [number, number] = [-1, 1]): number[] {
  return Array.from({ length: count }, (_, i) => {
    let x = (Math.imul(seed + 1, 0x85ebca6b) + Math.imul(i, 0x9e3779b9)) >>> 0;
    x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
    x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
    return Math.fround(low + (high - low) * (((x ^ (x >>> 16)) >>> 8) / 2 ** 24));
  });
}

/** Largest difference, relative to the largest element of `b`. */
export function difference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let most = 0, size = 1e-6;
  for (let i = 0; i < b.length; i++) {
    if (!Number.isFinite(a[i])) return Infinity;
    most = Math.max(most, Math.abs(a[i] - b[i]));
    size = Math.max(size, Math.abs(b[i]));
  }
  return a.length === b.length ? most / size : Infinity;
}

/** Whether gradients go through it: a composite's parts all have gradients. */
function differentiable(op: Checked): boolean {
  return op.gradient !== undefined || op.kernel === undefined;
}

/** Types of a sample's inputs. What it says is f32 is `stored` instead, where that can hold it: see `storingActivations`. */
function typesOf(op: Checked, sample: AnySample, stored: FloatFormat = "f32"): (TensorType | null)[] {
  return inputNames(op as AnyOp).map((name) => {
    const given = (sample.inputs as Record<string, readonly number[] | TensorType | undefined>)[name];
    if (!given) return null;
    if ("dtype" in given) return given;
    const shape = given as readonly number[];
    return { shape, dtype: (shape.at(-1) ?? 1) % 4 === 0 ? stored : "f32" };
  });
}

/** Elements of every input: those that the sample gives, else random ones; null where it is left out. */
function drawValues(op: AnyOpFunction, sample: AnySample, stored?: FloatFormat): (number[] | null)[] {
  const names = inputNames(op.definition as AnyOp);
  return typesOf(op.definition, sample, stored).map((type, i) =>
    type && (givenValues(sample, names[i]) ?? draw(type, i, sample))
  );
}

function givenValues(sample: AnySample, name: string): number[] | undefined {
  return (sample.values as Record<string, number[]> | undefined)?.[name];
}

/** Numbers as a tensor of this format holds them. */
function rounded(values: number[], dtype: DType): number[] {
  if (dtype === "f16") return [...new Float16Array(values)];
  return dtype === "bf16" ? [...decodeFloat32(encodeFloat32(Float32Array.from(values), "BF16"), "BF16")] : values;
}

/** What is uploaded for numbers that a tensor of this format holds, and the other way round. */
function fed(values: ArrayLike<number>, dtype: DType): ArrayLike<number> {
  return dtype === "bf16" ? new Uint16Array(encodeFloat32(Float32Array.from(values), "BF16").buffer) : values;
}
function read(values: ArrayLike<number>, dtype: DType): ArrayLike<number> {
  return dtype === "bf16" ? decodeFloat32(new Uint8Array((values as Uint16Array).buffer), "BF16") : values;
}

/** What a sample asks of a device: its outputs, and the gradients by all f32 inputs against given gradients of the outputs, `cotangent <output>`. */
export function traceSample(op: AnyOpFunction, sample: AnySample, stored: FloatFormat = "f32"): Record<string, Tensor> {
  const types = typesOf(op.definition, sample, stored), names = inputNames(op.definition as AnyOp);
  const inputs = types.map((type, i) => type && input(names[i], type.shape, type.dtype));
  const apply = op as unknown as (...args: unknown[]) => Tensor | Tensor[];
  const found = storingActivations(stored, () => apply(...inputs, sample.attributes ?? {}));
  const outputs = Array.isArray(found) ? found : [found];
  for (const { shape, dtype } of outputs.slice(0, op.definition.narrows ?? 0)) {
    equal(dtype, (shape.at(-1) ?? 1) % 4 === 0 ? stored : "f32", `${op.definition.name} stores its activations so`);
  }
  const wanted: Record<string, Tensor> = Object.fromEntries(outputs.map((output, i) => [`output ${i}`, output]));
  if (!differentiable(op.definition)) return wanted;
  // d/dx of Σ c·y is the vector-Jacobian product with c.
  let total: Tensor | null = null;
  for (const [i, output] of outputs.entries()) {
    const term = sum(multiply(output, input(`cotangent ${i}`, output.shape)));
    total = total ? add(total, term) : term;
  }
  const by = inputs.filter((tensor): tensor is Tensor =>
    tensor !== null && tensor.dtype !== "u32" && tensor.dtype !== "i32"
  );
  for (const [i, gradient] of gradients(total!, by).entries()) {
    if (gradient) wanted[`gradient ${names[inputs.indexOf(by[i])]}`] = gradient;
  }
  return wanted;
}

/** Runs the op and its gradients on the device. */
async function onDevice(
  device: Device,
  op: AnyOpFunction,
  sample: AnySample,
  values: (number[] | null)[],
  cotangents: number[][],
  stored: FloatFormat,
) {
  const types = typesOf(op.definition, sample, stored), names = inputNames(op.definition as AnyOp);
  const wanted = traceSample(op, sample, stored);
  const feeds: Record<string, ArrayLike<number>> = {};
  for (const [i, name] of names.entries()) if (values[i]) feeds[name] = fed(values[i], types[i]!.dtype);
  for (const [i, values] of cotangents.entries()) feeds[`cotangent ${i}`] = values;
  const compiled = await device.compile(plan({ outputs: wanted }));
  const known = new Set(compiled.program.inputs.keys());
  compiled.run(Object.fromEntries(Object.entries(feeds).filter(([name]) => known.has(name))));
  const results = await compiled.read(...Object.keys(wanted));
  device.release(compiled);
  return Object.fromEntries(Object.entries(results).map(([name, found]) => [name, read(found, wanted[name].dtype)]));
}

/** The same op on two sets of inputs, with the gradients: what `one` and `two` ask for, by names that begin so. */
export function traceBeside(
  op: AnyOpFunction,
  sample: AnySample,
): readonly [Record<string, Tensor>, Record<string, Tensor>] {
  const types = typesOf(op.definition, sample), names = inputNames(op.definition as AnyOp);
  const apply = op as unknown as (...args: unknown[]) => Tensor | Tensor[];
  const traced = (who: "one" | "two"): Record<string, Tensor> => {
    const inputs = types.map((type, i) => type && input(`${who} ${names[i]}`, type.shape, type.dtype));
    const found = apply(...inputs, sample.attributes ?? {}), outputs = Array.isArray(found) ? found : [found];
    const wanted = Object.fromEntries(outputs.map((output, i) => [`${who} output ${i}`, output]));
    if (!differentiable(op.definition)) return wanted;
    const by = inputs.filter((tensor) =>
      tensor !== null && tensor.dtype !== "u32" && tensor.dtype !== "i32"
    ) as Tensor[];
    const seed = square(outputs[0]);
    for (const [i, gradient] of gradients(outputs[0], by, { seed }).entries()) {
      if (gradient) wanted[`${who} gradient ${i}`] = gradient;
    }
    return wanted;
  };
  return [traced("one"), traced("two")];
}

/**
 * Checks that a sample and its gradients have the same bits when the same op runs beside it on other numbers, and that they share a dispatch.
 */
export async function checkBeside(device: Device, op: AnyOpFunction, sample: AnySample): Promise<void> {
  const types = typesOf(op.definition, sample), names = inputNames(op.definition as AnyOp);
  const traced = traceBeside(op, sample), feeds: Record<string, number[]> = {};
  for (const [k, who] of ["one", "two"].entries()) {
    for (const [i, type] of types.entries()) {
      if (type) feeds[`${who} ${names[i]}`] = givenValues(sample, names[i]) ?? draw(type, i + 10 * k, sample);
    }
  }
  const run = async (outputs: Record<string, Tensor>) => {
    const program = plan({ outputs }), compiled = await device.compile(program);
    compiled.run(Object.fromEntries([...program.inputs.keys()].map((name) => [name, feeds[name]])));
    const results = await compiled.read(...Object.keys(outputs));
    device.release(compiled);
    return { results, dispatches: dispatchesOf(program, device.facts.target).length };
  };
  const [one, two] = [await run(traced[0]), await run(traced[1])];
  const both = await run({ ...traced[0], ...traced[1] });
  deepEqual(both.results, { ...one.results, ...two.results }, `${op.definition.name} beside itself`);
  ok(both.dispatches < one.dispatches + two.dispatches, `${op.definition.name} shares no dispatch`);
}

/** The values of a sample's input, as its format holds them. */
function draw({ shape, dtype }: TensorType, seed: number, { integersBelow, range }: AnySample): number[] {
  const count = elementCount(shape);
  if (dtype === "u32" || dtype === "i32") return numbers(count, seed, [0, integersBelow!]).map(Math.floor);
  return rounded(numbers(count, seed, range), dtype);
}

/** Largest error, relative to the largest element, of a number that is stored in a format. */
const roundingErrors: Readonly<Record<FloatFormat, number>> = { f32: 0, f16: 2 ** -11, bf16: 2 ** -8 };

/**
 * Checks one sample: values, and gradients against central differences of the sample's own arithmetic.
 *
 * @param stored What f32 inputs, and outputs that are activations, are stored in.
 */
export async function checkSample(
  device: Device,
  op: AnyOpFunction,
  sample: AnySample,
  stored: FloatFormat = "f32",
): Promise<void> {
  const { definition } = op, names = inputNames(definition as AnyOp), types = typesOf(definition, sample, stored);
  const what = `${definition.name} ${JSON.stringify(sample.inputs)} ${
    JSON.stringify(sample.attributes ?? {})
  } ${stored}`;
  const tolerance = (sample.tolerance ?? 1e-5) + roundingErrors[stored];
  const values = drawValues(op, sample, stored);
  const reference = (given: (number[] | null)[]) => {
    const found = sample.expect(...given as number[][]);
    return (Array.isArray(found[0]) ? found : [found]) as number[][];
  };
  const expected = reference(values);
  const cotangents = expected.map((output, i) => numbers(output.length, 100 + i));
  const found = await onDevice(device, op, sample, values, cotangents, stored);
  for (const [i, output] of expected.entries()) {
    const off = difference(found[`output ${i}`], output);
    ok(off <= tolerance, `${what}: output ${i} is off by ${off}, limit ${tolerance}`);
  }
  if (!differentiable(definition)) return;
  const score = (given: (number[] | null)[]) =>
    reference(given).reduce(
      (total, output, i) => total + output.reduce((sum, y, j) => sum + y * cotangents[i][j], 0),
      0,
    );
  for (const [place, name] of names.entries()) {
    const type = types[place];
    if (!type || type.dtype === "u32" || type.dtype === "i32") continue;
    // A rule that gives none says that it is zero; the central differences must agree.
    const gradient = Array.from(found[`gradient ${name}`] ?? new Float32Array(elementCount(type.shape)));
    const step = 1e-4,
      places = [...new Set(numbers(Math.min(24, gradient.length), place + 7, [0, gradient.length]).map(Math.floor))];
    const numeric = places.map((j) => {
      const shifted = (by: number) => values.map((v, i) => i === place ? v!.map((x, k) => k === j ? x + by : x) : v);
      return (score(shifted(step)) - score(shifted(-step))) / (2 * step);
    });
    const size = Math.max(1e-3, ...gradient.map(Math.abs));
    const off = Math.max(...places.map((j, k) => Math.abs(gradient[j] - numeric[k]))) / size;
    ok(off <= Math.max(1e-3, 10 * tolerance), `${what}: gradient by ${name} is off by ${off} from central differences`);
  }
}

/** A sample of an op that changes variables: these, and the op's results. */
export function traceOverwriting(op: AnyOpFunction, sample: AnySample): { variables: Variable[]; changed: Tensor[] } {
  const definition = op.definition as AnyOp, names = inputNames(definition), types = typesOf(definition, sample);
  const variables = types.slice(0, definition.overwrites).map((type, i) => new Variable(names[i], type!));
  const inputs = types.map((type, i) => variables[i]?.tensor ?? (type && input(names[i], type.shape, type.dtype)));
  const apply = op as unknown as (...args: unknown[]) => Tensor | Tensor[];
  return { variables, changed: [apply(...inputs, sample.attributes ?? {})].flat() };
}

/**
 * Checks one sample of an op that changes variables: its first inputs are variables, and what they hold afterwards is the result.
 */
export async function checkOverwriting(device: Device, op: AnyOpFunction, sample: AnySample): Promise<void> {
  const definition = op.definition as AnyOp, names = inputNames(definition), values = drawValues(op, sample);
  const { variables, changed } = traceOverwriting(op, sample);
  variables.forEach((variable, i) => device.upload(variable, values[i]!));
  const compiled = await device.compile(plan({ effects: changed }));
  compiled.run(
    Object.fromEntries([...compiled.program.inputs.keys()].map((name) => [name, values[names.indexOf(name)]!])),
  );
  const expected = sample.expect(...values as number[][]),
    all = (variables.length > 1 ? expected : [expected]) as number[][];
  for (const [i, variable] of variables.entries()) {
    const off = difference(await device.download(variable), all[i]), tolerance = sample.tolerance ?? 1e-5;
    ok(off <= tolerance, `${definition.name} ${JSON.stringify(sample.attributes)}: ${names[i]} is off by ${off}`);
  }
  device.release(compiled);
  device.free(variables);
}

/** Checks that outputs and gradients stay finite when every input is ±100, or the sample's own extremes, or those given. */
export async function checkExtremes(
  device: Device,
  op: AnyOpFunction,
  sample: AnySample,
  stored: FloatFormat = "f32",
  extremes: readonly number[] = sample.extremes ?? [100, 100, -100],
): Promise<void> {
  const types = typesOf(op.definition, sample, stored);
  const values = types.map((type, i) => {
    if (!type) return null;
    const given = givenValues(sample, inputNames(op.definition as AnyOp)[i]);
    if (given) return given;
    const integers = type.dtype === "u32" || type.dtype === "i32";
    return Array.from({ length: elementCount(type.shape) }, (_, i) => integers ? 0 : extremes[i % extremes.length]);
  });
  const outputs = sample.expect(...values as number[][]);
  const lengths = (Array.isArray(outputs[0]) ? outputs as number[][] : [outputs as number[]]).map((output) =>
    output.length
  );
  const results = await onDevice(device, op, sample, values, lengths.map((length) => Array(length).fill(1)), stored);
  for (const [name, found] of Object.entries(results)) {
    ok(
      Array.from(found).every(Number.isFinite),
      `${op.definition.name} ${JSON.stringify(sample.inputs)}: ${name} is not finite at ${extremes}`,
    );
  }
}
