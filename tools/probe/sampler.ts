import { planSampler, samplerNames, stepMatrix } from "../../models/noise/sampler.ts";
import { NoiseSchedule, type PredictionType } from "../../models/noise/schedule.ts";
import type { ProbeRequest } from "./context.ts";
import { choiceOption, countOption, option } from "./options.ts";
import { entryOf, tensorOf, type TensorSet } from "./tensors.ts";

/** Options of `sampler`. */
export const samplerOptions = ["sampler", "steps", "prediction_type"];

/** Options from the samplers' golden JSON, which lists its runs: they are named in its tensors as well. */
export function samplerGolden(json: unknown): unknown {
  const { aliases: _, any_other_name: __, runs: ___, ...options } = json as Record<string, unknown>;
  return options;
}

interface Run {
  readonly name: string;
  readonly sampler: string;
  readonly steps: number;
  readonly predictionType: PredictionType;
}

/**
 * Samplers with the goldens' stand-in for the UNet, `x · sin(1.5 (t + 1) / 1000) + 0.1 · cos(3 x)`, and SD v1.5's schedule: for each run
 * `<sampler>.<steps>[.v]` that the input names `.latents` `[evaluations + 1, …]` and `.model_input`; or for the one that the options describe.
 *
 * Fresh noise is `<run>.noise` of the input.
 *
 * @throws {RangeError} If the options ask for a sampler that is not supported, or nothing asks for one that is.
 */
export function probeSampler({ input, options }: Pick<ProbeRequest, "input" | "options">): TensorSet {
  const output: TensorSet = new Map();
  for (const run of runsOf({ input, options })) sample(run, input, output);
  return output;
}

function runsOf({ input, options }: Pick<ProbeRequest, "input" | "options">): Run[] {
  if (options.sampler !== undefined) {
    const sampler = option(options, "sampler", "ddim"), steps = countOption(options, "steps", 20);
    const predictionType = choiceOption(options, "prediction_type", ["epsilon", "v_prediction"]);
    return [{ name: `${sampler}.${steps}${predictionType === "epsilon" ? "" : ".v"}`, sampler, steps, predictionType }];
  }
  const pattern = new RegExp(
    `^((${samplerNames.map((name) => RegExp.escape(name)).join("|")})\\.(\\d+)(\\.v)?)\\.(latents|model_input|noise)$`,
  );
  const runs = new Map<string, Run>();
  for (const key of input.keys()) {
    const [, name, sampler, steps, velocity] = key.match(pattern) ?? [];
    if (!name) continue;
    runs.set(name, { name, sampler, steps: Number(steps), predictionType: velocity ? "v_prediction" : "epsilon" });
  }
  if (runs.size > 0) return [...runs.values()];
  throw new RangeError(
    `Cannot probe: the input names no run of ${samplerNames.join(", ")}, such as euler.20.latents; ` +
      "name one, or give the options sampler and steps",
  );
}

function sample({ name, sampler, steps, predictionType }: Run, input: TensorSet, output: TensorSet): void {
  const plan = planSampler(sampler, new NoiseSchedule({ predictionType }), { steps });
  const start = tensorOf(input, "init_noise"), size = start.data.length;
  let x = Float32Array.from(start.data, (value) => value * plan.initNoiseSigma);
  let memory = Array.from({ length: plan.memory }, () => new Float32Array(size));
  const latents = new Float32Array((plan.steps.length + 1) * size), seen = new Float32Array(plan.steps.length * size);
  latents.set(x);
  for (const [index, step] of plan.steps.entries()) {
    const scaled = x.map((value) => value * step.inputScale);
    seen.set(scaled, index * size);
    const output = scaled.map((value) => standIn(value, step.timestep));
    const noise = step.next[2] ? entryOf(tensorOf(input, `${name}.noise`), index).data : new Float32Array(size);
    const terms = [x, output, noise, ...memory];
    [x, ...memory] = stepMatrix(step, plan.memory).map((factors) =>
      x.map((_, i) => factors.reduce((sum, factor, term) => sum + factor * terms[term][i], 0))
    );
    latents.set(x, (index + 1) * size);
  }
  output.set(`${name}.latents`, { shape: [plan.steps.length + 1, ...start.shape], data: latents });
  output.set(`${name}.model_input`, { shape: [plan.steps.length, ...start.shape], data: seen });
}

function standIn(x: number, timestep: number): number {
  return x * Math.sin(1.5 * (timestep + 1) / 1000) + 0.1 * Math.cos(3 * x);
}
