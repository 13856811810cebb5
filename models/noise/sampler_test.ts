import { deepEqual, equal, ok, throws } from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { SafetensorsFile } from "../../formats/safetensors.ts";
import { planSampler, resolveSamplerName, type SamplerPlan } from "./sampler.ts";
import { NoiseSchedule, type PredictionType } from "./schedule.ts";

// Goldens: diffusers 0.10.2's schedulers, set as kohya's sample_images has them, on the toy model below.
const folder = fileURLToPath(new URL("../../tests/golden/models/", import.meta.url));
const golden = await SafetensorsFile.open(`${folder}samplers.safetensors`);
const { runs } = JSON.parse(await Deno.readTextFile(`${folder}samplers.json`)) as { runs: Facts[] };
const supported = runs.filter((run) => /^(ddim|euler|euler_a)\.\d+(\.v)?$/.test(run.name));

interface Facts {
  name: string;
  steps: number;
  prediction_type: PredictionType;
  init_noise_sigma: number;
  timesteps: number[];
}

interface Expected {
  latents: Float32Array;
  modelInput: Float32Array;
  noise: Float32Array | undefined;
}

const initNoise = await golden.float32("init_noise");
const expectations = new Map<string, Expected>();
for (const { name } of supported) {
  expectations.set(name, {
    latents: await golden.float32(`${name}.latents`),
    modelInput: await golden.float32(`${name}.model_input`),
    noise: name.startsWith("ddim") ? undefined : await golden.float32(`${name}.noise`),
  });
}
await golden.close();

/** What stands in the UNet's place: `x · sin(1.5 (t + 1) / 1000) + 0.1 · cos(3 x)`. */
function toyModel(x: number, timestep: number): number {
  return x * Math.sin(1.5 * (timestep + 1) / 1000) + 0.1 * Math.cos(3 * x);
}

function run(plan: SamplerPlan, noise: Float32Array | undefined): { latents: number[]; modelInput: number[] } {
  let x = Array.from(initNoise, (value) => value * plan.initNoiseSigma);
  const latents = [...x];
  const modelInput: number[] = [];
  plan.steps.forEach((step, index) => {
    const seen = x.map((value) => value * step.inputScale);
    modelInput.push(...seen);
    x = x.map((value, at) =>
      step.latents * value + step.modelOutput * toyModel(seen[at], step.timestep) +
      step.noise * (noise?.[index * x.length + at] ?? 0)
    );
    latents.push(...x);
  });
  return { latents, modelInput };
}

function closeTo(actual: number[], expected: Float32Array, what: string): void {
  equal(actual.length, expected.length);
  const scale = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  const worst = expected.reduce((most, value, index) => Math.max(most, Math.abs(actual[index] - value)), 0);
  ok(worst <= 1e-5 * scale, `${what}: differs by ${worst / scale} of the largest value`);
}

equal(supported.length, 9);
for (const { name, steps, prediction_type: predictionType, init_noise_sigma: sigma, timesteps } of supported) {
  const plan = planSampler(name.split(".")[0], new NoiseSchedule({ predictionType }), { steps });
  const expected = expectations.get(name)!;

  Deno.test(`${name} has diffusers' timesteps and starting noise`, () => {
    equal(plan.steps.length, timesteps.length);
    plan.steps.forEach((step, index) => ok(Math.abs(step.timestep - timesteps[index]) < 1e-6));
    ok(Math.abs(plan.initNoiseSigma - sigma) < 1e-5 * sigma);
  });

  Deno.test(`${name} shows the model diffusers' inputs and takes its path, to 1e-5`, () => {
    const { latents, modelInput } = run(plan, expected.noise);
    closeTo(modelInput, expected.modelInput, "model inputs");
    closeTo(latents, expected.latents, "latents");
  });
}

Deno.test("planSampler() knows kohya's aliases", () => {
  const schedule = new NoiseSchedule();
  deepEqual(planSampler("k_euler", schedule, { steps: 3 }), planSampler("euler", schedule, { steps: 3 }));
  equal(resolveSamplerName("k_euler_a"), "euler_a");
});

Deno.test("planSampler() tells a sampler that is not supported from one that does not exist", () => {
  const list = "choose one of ddim, euler, euler_a, k_euler, k_euler_a";
  throws(() => resolveSamplerName("heun"), {
    name: "RangeError",
    message: `Cannot sample with "heun": this sampler is not supported; ${list}`,
  });
  throws(() => resolveSamplerName("toString"), {
    message: `Cannot sample with "toString": this sampler does not exist; ${list}`,
  });
});

Deno.test("planSampler() takes 1 to 999 steps with every sampler, and no others", () => {
  const schedule = new NoiseSchedule();
  for (const sampler of ["ddim", "euler", "euler_a"]) {
    for (const steps of [1, 2, 7, 30, 999]) {
      const plan = planSampler(sampler, schedule, { steps });
      const numbers = plan.steps.flatMap((step) => Object.values(step));
      ok(numbers.every(Number.isFinite), `${sampler} with ${steps} steps`);
      equal(plan.steps.length, steps);
    }
    for (const steps of [0, -1, 1.5, 1000, NaN]) {
      throws(() => planSampler(sampler, schedule, { steps }), {
        name: "RangeError",
        message: `Cannot sample with ${sampler}: steps is ${steps}, must be a whole number from 1 to 999`,
      });
    }
  }
});
