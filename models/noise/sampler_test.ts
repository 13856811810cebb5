import { deepEqual, equal, ok, throws } from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { SafetensorsFile } from "../../formats/safetensors.ts";
import {
  planSampler,
  resolveSamplerName,
  samplerNames,
  type SamplerPlan,
  type SamplerStep,
  stepMatrix,
} from "./sampler.ts";
import { NoiseSchedule, type PredictionType } from "./schedule.ts";

// Goldens: diffusers 0.10.2's schedulers, set as kohya's sample_images has them, on the toy model below.
const folder = fileURLToPath(new URL("../../tests/golden/models/", import.meta.url));
const golden = await SafetensorsFile.open(`${folder}samplers.safetensors`);
const { runs, aliases } = JSON.parse(await Deno.readTextFile(`${folder}samplers.json`)) as Facts;
const supported = runs.filter(({ name }) => !name.startsWith("ddim.clip_sample"));

/** Evaluations of the model that a number of steps takes, where they are not as many. */
const evaluations: Readonly<Record<string, (steps: number) => number>> = {
  pndm: (steps) => steps + 9,
  plms: (steps) => steps === 1 ? 1 : steps + 1,
  heun: (steps) => 2 * steps - 1,
  dpm_2: (steps) => 2 * steps - 1,
  dpm_2_a: (steps) => 2 * steps - 1,
};

interface Facts {
  runs: Run[];
  aliases: Record<string, string>;
}

interface Run {
  name: string;
  steps: number;
  prediction_type: PredictionType;
  init_noise_sigma: number;
  timesteps: number[];
  noises: number;
}

interface Expected {
  latents: Float32Array;
  modelInput: Float32Array;
  noise: Float32Array | undefined;
}

const initNoise = await golden.float32("init_noise");
const expectations = new Map<string, Expected>();
for (const { name, noises } of supported) {
  expectations.set(name, {
    latents: await golden.float32(`${name}.latents`),
    modelInput: await golden.float32(`${name}.model_input`),
    noise: noises === 0 ? undefined : await golden.float32(`${name}.noise`),
  });
}
await golden.close();

/** What stands in the UNet's place: `x · sin(1.5 (t + 1) / 1000) + 0.1 · cos(3 x)`. */
function toyModel(x: number, timestep: number): number {
  return x * Math.sin(1.5 * (timestep + 1) / 1000) + 0.1 * Math.cos(3 * x);
}

function run(plan: SamplerPlan, noise: Float32Array | undefined): { latents: number[]; modelInput: number[] } {
  let x = Array.from(initNoise, (value) => value * plan.initNoiseSigma);
  let memory = Array.from({ length: plan.memory }, () => x.map(() => 0));
  const latents = [...x];
  const modelInput: number[] = [];
  plan.steps.forEach((step, index) => {
    const seen = x.map((value) => value * step.inputScale);
    modelInput.push(...seen);
    const output = seen.map((value) => toyModel(value, step.timestep));
    const drawn = x.map((_, at) => noise?.[index * x.length + at] ?? 0);
    const at = [x, output, drawn, ...memory];
    [x, ...memory] = stepMatrix(step, plan.memory).map((factors) =>
      x.map((_, cell) => factors.reduce((sum, factor, term) => sum + factor * at[term][cell], 0))
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

equal(supported.length, 35);
for (const { name, steps, prediction_type: predictionType, init_noise_sigma: sigma, timesteps } of supported) {
  const plan = planSampler(name.split(".")[0], new NoiseSchedule({ predictionType }), { steps });
  const expected = expectations.get(name)!;

  Deno.test(`${name} has diffusers' timesteps and starting noise`, () => {
    equal(plan.steps.length, timesteps.length);
    // DPM2's middles go through f32 logarithms in diffusers; f32 is exact to 6e-5 there.
    const tolerance = name.startsWith("dpm_2") ? 1e-4 : 1e-6;
    plan.steps.forEach((step, index) => ok(Math.abs(step.timestep - timesteps[index]) < tolerance));
    ok(Math.abs(plan.initNoiseSigma - sigma) < 1e-5 * sigma);
  });

  Deno.test(`${name} shows the model diffusers' inputs and takes its path, to 1e-5`, () => {
    const { latents, modelInput } = run(plan, expected.noise);
    closeTo(modelInput, expected.modelInput, "model inputs");
    closeTo(latents, expected.latents, "latents");
  });
}

Deno.test("PNDM with an odd stride of 33 has two middles in each Runge-Kutta step, as diffusers", () => {
  const { steps, memory } = planSampler("pndm", new NoiseSchedule(), { steps: 30 });
  // diffusers 0.10.2's PNDMScheduler on the toy model, from 1.3.
  deepEqual(steps.slice(0, 14).map(({ timestep }) => timestep), [
    958,
    941,
    941,
    925,
    925,
    908,
    908,
    892,
    892,
    875,
    875,
    859,
    859,
    826,
  ]);
  ok(Math.abs(runFrom(1.3, steps, memory) - 1.8894513) < 1e-6);
});

/** Where steps without noise of their own end on the toy model. */
function runFrom(x: number, steps: readonly SamplerStep[], memory: number): number {
  let state = [x, ...Array(memory).fill(0)];
  for (const step of steps) {
    const terms = [state[0], toyModel(state[0] * step.inputScale, step.timestep), 0, ...state.slice(1)];
    state = stepMatrix(step, memory).map((row) => row.reduce((sum, factor, at) => sum + factor * terms[at], 0));
  }
  return state[0];
}

Deno.test("1000 steps end where diffusers' end, with the samplers that can make so many", () => {
  // diffusers 0.10.2's schedulers on the toy model, from 1.3 times their first sigma, in f32. Its others fail: IndexError, ValueError.
  const ends = { lms: 1.897634, euler: 1.8961902, heun: 1.8975736, dpm_2: 1.8975722 };
  for (const [sampler, end] of Object.entries(ends)) {
    const { steps, memory, initNoiseSigma } = planSampler(sampler, new NoiseSchedule(), { steps: 1000 });
    const found = runFrom(1.3 * initNoiseSigma, steps, memory);
    ok(Math.abs(found - end) < 2e-5, `${sampler}: ${found}`);
  }
});

Deno.test("planSampler() knows kohya's aliases", () => {
  const schedule = new NoiseSchedule();
  deepEqual(planSampler("k_euler", schedule, { steps: 3 }), planSampler("euler", schedule, { steps: 3 }));
  for (const [alias, sampler] of Object.entries(aliases)) equal(resolveSamplerName(alias), sampler);
});

Deno.test("planSampler() names the samplers there are when there is none of a name", () => {
  throws(() => resolveSamplerName("toString"), {
    name: "RangeError",
    message: 'Cannot sample with "toString": this sampler does not exist; choose one of ' +
      "ddim, pndm, plms, lms, euler, euler_a, heun, dpm_2, dpm_2_a, dpmsolver, dpmsolver++, dpmsingle, " +
      "k_lms, k_euler, k_euler_a, k_dpm_2, k_dpm_2_a",
  });
});

Deno.test("planSampler() takes 1 to 999 steps (PNDM from 4 on), 1000 with samplers that think in sigmas, and no others", () => {
  const schedule = new NoiseSchedule();
  for (const sampler of samplerNames) {
    const least = sampler === "pndm" ? 4 : 1,
      most = /^(lms|euler|euler_a|heun|dpm_2|dpm_2_a)$/.test(sampler) ? 1000 : 999;
    for (const steps of [least, least + 1, 7, 30, most]) {
      const { steps: planned, memory } = planSampler(sampler, schedule, { steps });
      for (const step of planned) {
        const factors = stepMatrix(step, memory).flat(), numbers = [step.timestep, step.inputScale, ...factors];
        ok(numbers.every(Number.isFinite), `${sampler} with ${steps} steps`);
        ok(step.timestep >= 0 && step.timestep <= 999);
      }
      equal(planned.length, evaluations[sampler]?.(steps) ?? steps, `${sampler} with ${steps} steps`);
    }
    for (const steps of [least - 1, -1, 4.5, most + 1, NaN]) {
      throws(() => planSampler(sampler, schedule, { steps }), {
        name: "RangeError",
        message: `Cannot sample with ${sampler}: steps is ${steps}, must be a whole number from ${least} to ${most}`,
      });
    }
  }
});
