import {
  attention,
  conv2d,
  type Device,
  type FloatFormat,
  gradients,
  groupNorm,
  layerNorm,
  linear,
  matmul,
  plan,
  silu,
  storingActivations,
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

/**
 * Puts a pass of an op on a device. Inputs are uploaded once, as variables: a run is only dispatches.
 *
 * @param stored What inputs and output are stored in; gradients are f32.
 */
export async function prepareOp(
  device: Device,
  op: Op,
  pass: Pass,
  stored: FloatFormat = "f32",
): Promise<PreparedOp> {
  const all = inputsOf(op, pass);
  const variables = all.map((input, i) => {
    const { shape, data } = engineLayout(op, input, i), isGradient = pass !== "forward" && i === all.length - 1;
    const variable = new Variable(`${op.op} input ${i}`, { shape, dtype: isGradient ? "f32" : stored });
    device.upload(variable, data);
    return variable;
  });
  const inputs = variables.map(({ tensor }) => tensor), seed = pass === "forward" ? undefined : inputs.pop();
  const output = storingActivations(stored, () => build(op, inputs));
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
      const values = (await program.read("result 0"))["result 0"];
      return (values as Float32Array).reduce((sum, value) => sum + Math.abs(value), 0) / values.length;
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
    case "silu":
      return silu(x);
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
