import { readFile } from "node:fs/promises";
import {
  attention,
  conv2d,
  type Device,
  elementCount,
  gradients,
  groupNorm,
  layerNorm,
  linear,
  matmul,
  plan,
  type Tensor,
  Variable,
} from "../engine/mod.ts";
import { type Line, type Measured, measureLine } from "./line.ts";

/** Output alone, or also gradients of a given gradient of the output. */
export type Pass = "forward" | "forward+gradient";

/** Both passes, in the order of `Op.mflop`. */
export const passes: readonly Pass[] = ["forward", "forward+gradient"];

/** One op at one size, as `ops.json` lists them. */
export interface Op {
  readonly op: "matmul" | "conv3x3" | "linear" | "attention" | "group_norm_silu" | "layer_norm";
  /** The sizes as text: a name, not read. */
  readonly shape: string;
  readonly dims: readonly number[];
  /** Nominal operations of each pass, in millions; null where arithmetic is not what costs. */
  readonly mflop: readonly [number, number] | null;
  /** Too long for a CPU. */
  readonly large?: boolean;
}

/** Numbers of one input, laid out as bench/README.md says. */
export interface Input {
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

const shapesOf: Readonly<Record<Op["op"], (dims: readonly number[]) => (readonly number[])[]>> = {
  matmul: ([m, n, k]) => [[m, k], [k, n], [m, n]],
  conv3x3: ([batch, height, width, size, out]) => [
    [batch, height, width, size],
    [3, 3, size, out],
    [batch, height, width, out],
  ],
  linear: ([m, size, out]) => [[m, size], [size, out], [m, out]],
  attention: (tokens) => [tokens, tokens, tokens, tokens],
  group_norm_silu: (x) => [x, [x[3]], [x[3]], x],
  layer_norm: (x) => [x, [x[1]], [x[1]], x],
};

/** How many inputs, from the first, get a gradient: in LoRA training weights of the base get none. */
const differentiated: Readonly<Record<Op["op"], number>> = {
  matmul: 2,
  conv3x3: 1,
  linear: 1,
  attention: 3,
  group_norm_silu: 1,
  layer_norm: 1,
};

/** The ops of `ops.json`. */
export async function readOps(): Promise<Op[]> {
  return JSON.parse(await readFile(new URL("ops.json", import.meta.url), "utf8"));
}

/** An op's inputs, and for `forward+gradient` the gradient of its output behind them: computed, so that every program has the same. */
export function inputsOf({ op, dims }: Pick<Op, "op" | "dims">, pass: Pass): Input[] {
  return shapesOf[op](dims).slice(0, pass === "forward" ? -1 : undefined)
    .map((shape, seed) => ({ shape, data: uniform(elementCount(shape), seed) }));
}

/**
 * Numbers in [-1, 1) by rule: element i is murmur3's finalizer of `seed + i · 0x9E3779B9`, its upper 24 bits scaled.
 *
 * @see Appleby, MurmurHash3, https://github.com/aappleby/smhasher/blob/master/src/MurmurHash3.cpp
 */
export function uniform(count: number, seed: number): Float32Array<ArrayBuffer> {
  return Float32Array.from({ length: count }, (_, i) => {
    let bits = (seed + Math.imul(i, 0x9e3779b9)) >>> 0;
    bits = Math.imul(bits ^ (bits >>> 16), 0x85ebca6b);
    bits = Math.imul(bits ^ (bits >>> 13), 0xc2b2ae35);
    return ((bits ^ (bits >>> 16)) >>> 8) / 2 ** 23 - 1;
  });
}

/** Measures one pass of an op. */
export async function measureOp(op: Op, pass: Pass, options: { seconds: number }): Promise<Line> {
  return await measureLine({ op: op.op, shape: op.shape, pass }, options, (device) => prepare(device, op, pass));
}

/** Inputs are uploaded once, as variables: a run is only dispatches. */
async function prepare(device: Device, op: Op, pass: Pass): Promise<Measured> {
  const variables = inputsOf(op, pass).map((input, i) => {
    const { shape, data } = engineLayout(op, input, i);
    const variable = new Variable(`${op.op} input ${i}`, { shape, dtype: "f32" });
    device.upload(variable, data);
    return variable;
  });
  const inputs = variables.map(({ tensor }) => tensor), seed = pass === "forward" ? undefined : inputs.pop();
  const output = build(op, inputs);
  const results = seed
    ? [...gradients(output, inputs.slice(0, differentiated[op.op]), { seed }) as Tensor[], output]
    : [output];
  const program = await device.compile(
    plan({ outputs: Object.fromEntries(results.map((result, i) => [`result ${i}`, result])) }),
  );
  // Results may be large; a number of its own is the cheapest thing to wait for, and the queue keeps the order.
  const mark = new Variable("mark", { shape: [1], dtype: "f32" });
  device.upload(mark, [0]);
  return {
    run: () => program.run(),
    wait: async () => {
      await device.download(mark);
    },
    figures: async ({ medianMs }) => {
      const values = (await program.read("result 0"))["result 0"] as Float32Array;
      return {
        gflops: op.mflop && op.mflop[passes.indexOf(pass)] / medianMs,
        check: values.reduce((sum, value) => sum + Math.abs(value), 0) / values.length,
      };
    },
  };
}

function build({ op, dims }: Op, [x, second, third]: readonly Tensor[]): Tensor {
  switch (op) {
    case "matmul":
      return matmul(x, second, null, null, {});
    case "conv3x3":
      return conv2d(x, second, null, null, { stride: 1, padding: [1, 1, 1, 1] });
    case "linear":
      return linear(x, second);
    case "attention":
      return attention(x, second, third, { heads: dims[2] });
    case "group_norm_silu":
      return groupNorm(x, second, third, { groups: 32, epsilon: 1e-5, silu: true });
    case "layer_norm":
      return layerNorm(x, second, third, { epsilon: 1e-5 });
  }
}

/** Linear weights lie as `[out, in]` here, and heads are interleaved in the channels. */
function engineLayout({ op }: Op, { shape, data }: Input, index: number): Input {
  if (op === "attention") return { shape: [shape[0], shape[1], shape[2] * shape[3]], data };
  if (op !== "linear" || index !== 1) return { shape, data };
  const [size, out] = shape;
  return {
    shape: [out, size],
    data: Float32Array.from(data, (_, i) => data[(i % size) * out + Math.floor(i / size)]),
  };
}
