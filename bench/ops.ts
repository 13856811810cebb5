import {
  attention,
  conv2d,
  type Device,
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
import { differentiatedInputs, type Input, inputsOf, nominalOperations, type Op, type Pass } from "./op_list.ts";
import type { Work } from "./timing.ts";

/** A pass of an op on a device. */
export interface PreparedOp extends Work {
  /** Mean absolute value of the last run's output, or with gradients of the gradient by the first input. */
  check(): Promise<number>;
}

/** Measures one pass of an op. */
export async function measureOp(op: Op, pass: Pass, options: { seconds: number }): Promise<Line> {
  return await measureLine({ op: op.op, shape: op.shape, pass }, options, async (device): Promise<Measured> => {
    const { run, wait, check } = await prepareOp(device, op, pass), operations = nominalOperations(op, pass);
    return {
      run,
      wait,
      figures: async ({ medianMs }) => ({ gflops: operations && operations / medianMs / 1e6, check: await check() }),
    };
  });
}

/** Puts a pass of an op on a device. Inputs are uploaded once, as variables: a run is only dispatches. */
export async function prepareOp(device: Device, op: Op, pass: Pass): Promise<PreparedOp> {
  const variables = inputsOf(op, pass).map((input, i) => {
    const { shape, data } = engineLayout(op, input, i);
    const variable = new Variable(`${op.op} input ${i}`, { shape, dtype: "f32" });
    device.upload(variable, data);
    return variable;
  });
  const inputs = variables.map(({ tensor }) => tensor), seed = pass === "forward" ? undefined : inputs.pop();
  const output = build(op, inputs);
  const results = seed
    ? [...gradients(output, inputs.slice(0, differentiatedInputs(op)), { seed }) as Tensor[], output]
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
    check: async () => {
      const values = (await program.read("result 0"))["result 0"] as Float32Array;
      return values.reduce((sum, value) => sum + Math.abs(value), 0) / values.length;
    },
  };
}

function build({ op, dims }: Op, [x, second, third]: readonly Tensor[]): Tensor {
  switch (op) {
    case "matmul":
      return matmul(x, second, null, null, {});
    case "conv3x3":
      return conv2d(x, second, null, null, { stride: 1, padding: [1, 1, 1, 1] });
    case "conv1x1":
      return conv2d(x, second, null, null, { stride: 1, padding: [0, 0, 0, 0] });
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
