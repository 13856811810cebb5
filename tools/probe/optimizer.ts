import type { OptimizerArguments } from "../../training/optimizers/arguments.ts";
import { optimizerByName } from "../../training/optimizers/optimizers.ts";
import type { ProbeRequest } from "./context.ts";
import { learningRateOption } from "./dual.ts";
import { countOption, option, type ProbeOptions } from "./options.ts";
import type { NamedTensor, TensorSet } from "./tensors.ts";
import { type OptimizerRun, trajectory } from "./trajectory.ts";

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

/** Classes of the goldens' packages by sd-scripts' names. */
const classes: Readonly<Record<string, string>> = {
  "torch.AdamW": "AdamW",
  "torch.SGD": "SGDNesterov",
  "lion_pytorch.Lion": "Lion",
  "prodigyopt.Prodigy": "Prodigy",
  "transformers.Adafactor": "AdaFactor",
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
export const shapes: Readonly<Record<string, readonly number[]>> = { a: [7, 5], b: [33], c: [300, 20] };

/**
 * Optimizers over 20 steps, from parameters and with gradients by rule: `<run>.a` and `.b` with every step `[steps, …]`, `.c.step_20` the last, and every
 * figure that the optimizer logs, such as `<run>.d`, with every step. Without settings AdamW's runs of the goldens.
 *
 * @throws {RangeError} If there is no such optimizer.
 */
export async function probeOptimizer(
  request: Pick<ProbeRequest, "device" | "options" | "salt">,
): Promise<TensorSet> {
  const { device, options } = request, output: TensorSet = new Map();
  const salt = option(options, "salt", request.salt ?? 0), steps = countOption(options, "steps", 20);
  for (const [name, run] of Object.entries(runsOf(request))) {
    for (const [tensor, values] of await trajectory(device, run, { shapes, steps, salt })) {
      if (tensor !== "c") output.set(`${name}.${tensor}`, values);
      else output.set(`${name}.c.step_${steps}`, lastOf(values));
    }
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

function lastOf({ shape: [steps, ...shape], data }: NamedTensor): NamedTensor {
  return { shape, data: data.slice(data.length / steps * (steps - 1)) };
}
