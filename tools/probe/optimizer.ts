import { type AdamWAttributes, adamwStep, elementCount, input, plan, Variable } from "../../engine/mod.ts";
import { uniformByRule } from "../../formats/weights_by_rule.ts";
import { haltFlag } from "../../training/step_graph.ts";
import type { ProbeRequest } from "./context.ts";
import { adamwOptions, adamwRate, learningRateOption } from "./dual.ts";
import { countOption, option, type ProbeOptions } from "./options.ts";
import type { TensorSet } from "./tensors.ts";

/** Options of `optimizer`. */
export const optimizerOptions = [
  "optimizer",
  "learning_rate",
  "lr",
  "betas",
  "eps",
  "weight_decay",
  "steps",
  "salt",
  "runs",
];

/** The goldens' runs of AdamW; what is left out are PyTorch's defaults. */
const goldenRuns: Readonly<Record<string, ProbeOptions>> = {
  adamw: { lr: 1e-3 },
  adamw_options: { lr: 5e-3, betas: [0.8, 0.95], weight_decay: 0.1, eps: 1e-6 },
  adamw_no_decay: { lr: 1e-3, weight_decay: 0 },
};

/** Options from the optimizers' golden JSON, `{<run>: {class, arguments}}`: its runs of AdamW, as `runs`. */
export function optimizerGolden(json: unknown): unknown {
  const options: Record<string, unknown> = {}, runs: Record<string, ProbeOptions> = {};
  for (const [name, value] of Object.entries(json as Record<string, unknown>)) {
    const about = value as { class?: string; arguments?: ProbeOptions } | null;
    if (typeof about?.class !== "string") options[name] = value;
    else if (about.class === "torch.AdamW") runs[name] = about.arguments ?? {};
  }
  return Object.keys(runs).length > 0 ? { ...options, runs } : options;
}

/** The goldens' tensors, all in one parameter group. */
const shapes: Readonly<Record<string, readonly number[]>> = { a: [7, 5], b: [33], c: [300, 20] };

/**
 * AdamW over 20 steps, from parameters and with gradients by rule: `adamw.a` and `.b` with every step `[steps, …]`, `.c.step_20` the last.
 * Without settings all runs that the goldens have.
 *
 * @throws {RangeError} If another optimizer is asked for.
 */
export async function probeOptimizer(
  request: Pick<ProbeRequest, "device" | "options" | "salt">,
): Promise<TensorSet> {
  const { options } = request, name = option(options, "optimizer", "adamw").toLowerCase();
  if (!Object.hasOwn(goldenRuns, name)) {
    throw new RangeError(`Cannot probe: optimizer ${name} is not there yet, use ${Object.keys(goldenRuns).join(", ")}`);
  }
  const told = Object.keys(options).some((key) => !["steps", "salt", "runs"].includes(key));
  const runs = told ? { [name]: { ...goldenRuns[name], ...options } } : options.runs ?? goldenRuns;
  const output: TensorSet = new Map();
  for (const [run, settings] of Object.entries(runs as typeof goldenRuns)) {
    await trajectory({ ...request, options: { ...options, ...settings } }, run, output);
  }
  return output;
}

async function trajectory(
  request: Pick<ProbeRequest, "device" | "options" | "salt">,
  run: string,
  output: TensorSet,
): Promise<void> {
  const { device, options } = request;
  const salt = option(options, "salt", request.salt ?? 0), steps = countOption(options, "steps", 20);
  const names = Object.keys(shapes), sizes = names.map((name) => elementCount(shapes[name]));
  const joined = (part: (name: string, size: number) => Float32Array) =>
    names.flatMap((name, i) => Array.from(part(name, sizes[i])));
  const start = joined((name, size) =>
    uniformByRule(`optimizer.parameter.${name}`, size, salt).map((u) => Math.fround(0.1) * u)
  );
  const optimizer = adamwOptions(request), learningRate = learningRateOption(request);
  const { program, variables: [parameter, ...moments] } = adamw(start.length, optimizer);
  device.upload(parameter, start);
  const compiled = await device.compile(program);
  const history: Float32Array[] = [];
  for (let step = 1; step <= steps; step++) {
    const gradient = joined((name, size) => gradientByRule(name, size, step, salt));
    compiled.run({ gradient, rate: adamwRate(learningRate, step, optimizer) });
    history.push(await device.download(parameter) as Float32Array);
  }
  device.release(compiled);
  device.free([parameter, ...moments]);

  let offset = 0;
  for (const [i, name] of names.entries()) {
    const part = (values: Float32Array) => values.subarray(offset, offset + sizes[i]);
    const whole = name === "c" ? history.slice(-1) : history, data = new Float32Array(whole.length * sizes[i]);
    whole.forEach((values, step) => data.set(part(values), step * sizes[i]));
    if (name === "c") output.set(`${run}.c.step_${steps}`, { shape: shapes[name], data });
    else output.set(`${run}.${name}`, { shape: [steps, ...shapes[name]], data });
    offset += sizes[i];
  }
}

/** One update of flat parameters, with the ops that training uses. */
function adamw(size: number, attributes: AdamWAttributes) {
  const variables = ["parameter", "first moment", "second moment"].map((name) =>
    new Variable(name, { shape: [size], dtype: "f32" })
  );
  const halted = haltFlag();
  const [parameter, first, second] = variables.map(({ tensor }) => tensor);
  const [updated] = adamwStep(
    parameter,
    first,
    second,
    input("gradient", [size]),
    halted.tensor,
    input("rate", [3]),
    attributes,
  );
  return { program: plan({ effects: [updated] }), variables: [...variables, halted] };
}

/** `0.02 · (0.5 · direction + noise)`, each operation rounded to f32. */
function gradientByRule(name: string, size: number, step: number, salt: number): Float32Array {
  const direction = uniformByRule(`optimizer.direction.${name}`, size, salt);
  const noise = uniformByRule(`optimizer.gradient.${step}.${name}`, size, salt);
  return noise.map((u, i) => Math.fround(0.02) * Math.fround(0.5 * direction[i] + u));
}
