import { deepEqual, equal, ok, throws } from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { SafetensorsFile } from "../../formats/safetensors.ts";
import { minSnrWeights } from "./min_snr.ts";
import { NoiseSchedule } from "./schedule.ts";

// Goldens: diffusers 0.10.2's DDPMScheduler in f32; min-SNR weights as in kohya's scripts v0.6.4.
const golden = await SafetensorsFile.open(
  fileURLToPath(new URL("../../tests/golden/models/schedule.safetensors", import.meta.url)),
);
const timesteps = await golden.int32("timesteps");
const latents = await golden.float32("latents");
const noise = await golden.float32("noise");
const goldenTensors = new Map<string, Float32Array>();
for (const name of ["betas", "alphas_cumprod", "snr", "noisy", "velocity", "min_snr_5"]) {
  goldenTensors.set(name, await golden.float32(name));
}
await golden.close();

const config = {
  _class_name: "PNDMScheduler",
  beta_start: 0.00085,
  beta_end: 0.012,
  beta_schedule: "scaled_linear",
  num_train_timesteps: 1000,
  trained_betas: null,
};
const all = Array.from({ length: 1000 }, (_, timestep) => timestep);

/** Largest difference, relative to the expected tensor's largest value. */
function closeTo(actual: ArrayLike<number>, name: string, tolerance: number): void {
  const expected = goldenTensors.get(name)!;
  equal(actual.length, expected.length);
  const scale = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  expected.forEach((value, index) => {
    ok(Math.abs(actual[index] - value) <= tolerance * scale, `${name}[${index}]: ${actual[index]}, expected ${value}`);
  });
}

/** Largest difference, relative to each expected value. */
function eachCloseTo(actual: ArrayLike<number>, name: string, tolerance: number): void {
  goldenTensors.get(name)!.forEach((value, index) => {
    const limit = tolerance * Math.abs(value);
    ok(Math.abs(actual[index] - value) <= limit, `${name}[${index}]: ${actual[index]}, expected ${value}`);
  });
}

function mix(coefficients: { latents: Float32Array; noise: Float32Array }): Float32Array {
  const perSample = latents.length / timesteps.length;
  return latents.map((value, index) => {
    const sample = Math.floor(index / perSample);
    return coefficients.latents[sample] * value + coefficients.noise[sample] * noise[index];
  });
}

Deno.test("NoiseSchedule has diffusers' betas and cumulative alphas, each to 1e-6", () => {
  const schedule = NoiseSchedule.fromConfig(config);
  eachCloseTo(schedule.betas, "betas", 1e-6);
  eachCloseTo(schedule.alphasCumprod, "alphas_cumprod", 1e-6);
});

Deno.test("snr() equals diffusers' signal-to-noise ratio at every timestep, each to 1e-4", () => {
  eachCloseTo(NoiseSchedule.fromConfig(config).snr(all), "snr", 1e-4);
});

Deno.test("addNoiseCoefficients() mix latents and noise as diffusers' add_noise", () => {
  closeTo(mix(NoiseSchedule.fromConfig(config).addNoiseCoefficients(timesteps)), "noisy", 1e-6);
});

Deno.test("velocityCoefficients() mix latents and noise as diffusers' get_velocity", () => {
  closeTo(mix(NoiseSchedule.fromConfig(config).velocityCoefficients(timesteps)), "velocity", 1e-6);
});

Deno.test("targetCoefficients() give the noise itself, or the velocity when the model predicts that", () => {
  deepEqual(mix(NoiseSchedule.fromConfig(config).targetCoefficients(timesteps)), noise);
  const velocity = NoiseSchedule.fromConfig({ ...config, prediction_type: "v_prediction" });
  closeTo(mix(velocity.targetCoefficients(timesteps)), "velocity", 1e-6);
});

Deno.test("minSnrWeights() equal kohya's weights for gamma 5 at every timestep", () => {
  closeTo(minSnrWeights(NoiseSchedule.fromConfig(config).snr(all), { gamma: 5 }), "min_snr_5", 1e-5);
});

Deno.test("minSnrWeights() reject a ratio or a gamma that is not above 0", () => {
  throws(() => minSnrWeights([1, 2, 3, 0], { gamma: 5 }), {
    name: "RangeError",
    message: "Cannot weight losses: snr[3] is 0, must be above 0",
  });
  throws(() => minSnrWeights([1], { gamma: 0 }), RangeError);
});

Deno.test("fromConfig() names the file and the value it does not support", () => {
  const cases: [Record<string, unknown>, RegExp][] = [
    [
      { beta_schedule: "linear" },
      /^Cannot use scheduler_config.json: beta_schedule is "linear", supported is "scaled_linear"$/,
    ],
    [{ prediction_type: "sample" }, /prediction_type is "sample", supported is "epsilon" or "v_prediction"/],
    [{ trained_betas: [0.1] }, /trained_betas is \[0\.1\], supported is null/],
    [{ rescale_betas_zero_snr: true }, /rescale_betas_zero_snr is true, supported is false/],
    [{ beta_end: 1.5 }, /beta goes from 0\.00085 to 1\.5/],
    [{ num_train_timesteps: 1 }, /timesteps is 1/],
  ];
  for (const [change, message] of cases) {
    throws(() => NoiseSchedule.fromConfig({ ...config, ...change }), { name: "RangeError", message });
  }
});

Deno.test("fromConfig() names the value that is missing or of a wrong kind", () => {
  throws(() => NoiseSchedule.fromConfig({ ...config, beta_schedule: undefined }), /beta_schedule is missing/);
  throws(() => NoiseSchedule.fromConfig({ ...config, beta_start: "0.1" }, { file: "a/b.json" }), {
    name: "TypeError",
    message: 'Cannot read a/b.json: beta_start is "0.1", must be a number',
  });
  throws(() => NoiseSchedule.fromConfig([]), TypeError);
  throws(() => NoiseSchedule.fromConfig(null), /found null, expected an object/);
});

Deno.test("a timestep outside of the schedule is an error that names the sample", () => {
  const schedule = NoiseSchedule.fromConfig(config);
  for (const timestep of [1000, -1, 0.5, NaN]) {
    throws(() => schedule.addNoiseCoefficients([0, timestep]), {
      name: "RangeError",
      message: `Cannot use timestep ${timestep} of sample 1: must be a whole number from 0 to 999`,
    });
  }
});
