import { deepEqual, equal, ok } from "node:assert/strict";
import {
  add,
  byteLength,
  concat,
  Device,
  embedding,
  fill,
  multiply,
  pooledBytes,
  reshape,
  slice,
  SlotPool,
} from "../../engine/mod.ts";
import { planSampler, samplerNames, stepMatrix } from "../../models/noise/sampler.ts";
import { NoiseSchedule } from "../../models/noise/schedule.ts";
import { CompiledSampler, planSampling, type SampledModel } from "../../models/sampling.ts";

/**
 * In the UNet's place: `f = x · (t + 1) / 2000`, twice that for a prompt of the token 1, so that latents of a sampler without fresh noise are a factor times
 * the noise that they start from.
 */
const linear: SampledModel = {
  schedule: new NoiseSchedule(),
  encode: (ids) => {
    const [dull, strong] = [1, 2].map((value) => fill({ shape: [1, 4], value }));
    return embedding(concat(dull, strong, { axis: 0 }), ids);
  },
  denoise: (x, timesteps, context) => {
    const [rows] = x.shape, token = slice(context, { axis: 1, start: 0, length: 1 });
    const strength = reshape(slice(token, { axis: 2, start: 0, length: 1 }), [rows, 1, 1, 1]);
    const time = reshape(add(timesteps, fill({ shape: [1], value: 1 })), [rows, 1, 1, 1]);
    return multiply(multiply(x, multiply(time, strength)), fill({ shape: [1], value: 1 / 2000 }));
  },
};
const guidance = 3, steps = 6;

/** The factor, computed from the plan in f64: guidance makes `1 + 3 · (2 − 1)` of the strengths. */
function factorOf(sampler: string): number {
  const { steps: planned, memory, initNoiseSigma } = planSampler(sampler, linear.schedule, { steps });
  let state = [initNoiseSigma, ...Array(memory).fill(0)];
  for (const step of planned) {
    const output = state[0] * step.inputScale * (step.timestep + 1) / 2000 * (1 + guidance);
    const terms = [state[0], output, 0, ...state.slice(1)];
    state = stepMatrix(step, memory).map((row) => row.reduce((sum, factor, at) => sum + factor * terms[at], 0));
  }
  return state[0];
}

Deno.test("CompiledSampler takes every sampler's steps on the device, memory and guidance included, and takes them again", async () => {
  using device = await Device.open();
  const request = { promptIds: [Array(77).fill(1)], negativeIds: [Array(77).fill(0)], seeds: [7] };
  const sample = async (sampler: typeof samplerNames[number]) => {
    const pool = new SlotPool(device);
    const options = { sampler, steps, guidance, width: 8, height: 8, batch: 1, tokenRows: 1, adapters: [] };
    const compiled = await CompiledSampler.make(device, linear, options, pool);
    const [latents] = await compiled.sample(request);
    deepEqual(await compiled.sample(request), [latents], `${sampler} a second time`);
    compiled.free();
    pool.dispose();
    return latents;
  };
  const unit = (await sample("ddim")).map((value) => value / factorOf("ddim"));
  const power = unit.reduce((sum, value) => sum + value * value, 0) / unit.length;
  ok(power > 0.6 && power < 1.5, `the first noise has a variance of ${power}`);
  for (const sampler of samplerNames.filter((name) => !name.endsWith("_a"))) {
    const latents = await sample(sampler), factor = factorOf(sampler);
    const scale = Math.abs(factor) * Math.max(...unit.map(Math.abs));
    const worst = Math.max(...latents.map((value, at) => Math.abs(value - factor * unit[at])));
    ok(worst <= 1e-4 * scale, `${sampler}: differs by ${worst / scale} of the largest value`);
  }
});

Deno.test("at a guidance of 1 and below the model is asked for the prompt alone, as in diffusers' pipelines", () => {
  const options = { sampler: "ddim", steps, width: 8, height: 8, batch: 2, tokenRows: 1, adapters: [] } as const;
  const rows = [-1, 0, 0.5, 1, 1.5, 7.5].map((guidance) => {
    const { encode, step } = planSampling(linear, { ...options, guidance });
    return [encode.inputs.get("ids")!.type.shape[0], step.inputs.get("timesteps")!.type.shape[0]];
  });
  deepEqual(rows, [[2, 2], [2, 2], [2, 2], [2, 2], [4, 4], [4, 4]]);
});

Deno.test("planned memory counts what a sampler keeps: PNDM has five times the latents more than DDIM", () => {
  const latents = 2 * 64 * 64 * 4 * 4;
  const planned = (sampler: typeof samplerNames[number]) => {
    const options = { sampler, steps, guidance, width: 64, height: 64, batch: 2, tokenRows: 1, adapters: [] };
    return planSampling(linear, options);
  };
  const ddim = planned("ddim"), pndm = planned("pndm");
  equal(byteLength(ddim.state), latents);
  equal(byteLength(pndm.state), 6 * latents);
  const bytes = ({ encode, start, step }: typeof ddim) => pooledBytes([encode, start, step], []);
  ok(bytes(pndm) - bytes(ddim) >= 5 * latents);
});
