import { deepEqual, equal, ok, rejects, throws } from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { NoiseSchedule } from "../../models/noise/schedule.ts";
import { microBatch } from "../../tools/probe/dual_batch.ts";
import { probeSampler } from "../../tools/probe/sampler.ts";
import { scalar, type TensorSet } from "../../tools/probe/tensors.ts";
import { probeTokenize } from "../../tools/probe/tokenize.ts";
import { closeTensor, goldenJson, goldenTensors } from "./golden_tensors.ts";

Deno.test("probeSampler() takes diffusers' steps in every sampler's runs that a golden names", async () => {
  const golden = await goldenTensors("models/samplers");
  const found = probeSampler({ input: golden, options: {} });
  equal(found.size, 70);
  for (const name of found.keys()) closeTensor(found, name, golden, name, 1e-5);
});

Deno.test("probeSampler() runs the sampler that options describe, and names one that is not there", async () => {
  const golden = await goldenTensors("models/samplers");
  const input: TensorSet = new Map([["init_noise", golden.get("init_noise")!]]);
  const found = probeSampler({ input, options: { sampler: "ddim", steps: 5, prediction_type: "v_prediction" } });
  deepEqual([...found.keys()], ["ddim.5.v.latents", "ddim.5.v.model_input"]);
  closeTensor(found, "ddim.5.v.latents", golden, "ddim.5.v.latents", 1e-5);
  throws(() => probeSampler({ input, options: { sampler: "huen" } }), /"huen": this sampler does not exist/);
  throws(() => probeSampler({ input, options: {} }), /names no run of ddim, pndm, plms/);
});

Deno.test("probeTokenize() gives the toy tokenizer's ids for a golden's cases and for bare texts", async () => {
  const cases = await goldenJson("models/toy_tokenizer");
  const folder = fileURLToPath(new URL("../../assets/toy/base", import.meta.url));
  const found = await probeTokenize(folder, { cases });
  for (const [index, wanted] of cases.entries()) deepEqual({ ...found.cases[index], ...wanted }, found.cases[index]);
  deepEqual(await probeTokenize(folder, [cases[0].text]), { cases: found.cases.slice(0, 1) });
  await rejects(probeTokenize(folder, { texts: [] }), TypeError);
});

/** Two steps of latents `[batch, 4, 1, 1]`, timesteps for three samples. */
function smallInput(batch: number): TensorSet {
  const picture = { shape: [2, batch, 4, 1, 1], data: Float32Array.from({ length: 8 * batch }, (_, i) => i) };
  const ids = { shape: [2, batch, 77], data: new Int32Array(154 * batch) };
  const input: TensorSet = new Map([["timesteps", { shape: [2, 3], data: Int32Array.of(0, 1, 2, 500, 600, 700) }]]);
  for (const k of [1, 2]) {
    input.set(`latents_${k}`, picture).set(`noise_${k}`, picture).set(`input_ids_${k}`, ids);
  }
  return input;
}

Deno.test("microBatch() feeds the step's own samples, with min-SNR in the weights of the squared error alone", () => {
  const options = { min_snr_gamma: 5, loss_weights_1: [1, 0.5], loss_weights_2: [0.5, 0.5, 7] };
  const { shapes, feeds } = microBatch(smallInput(2), options, "", 1, new NoiseSchedule());
  deepEqual(shapes[0], { batch: 2, height: 1, width: 1, tokenRows: 1 });
  deepEqual([...feeds.timesteps_1 as number[]], [500, 600]);
  deepEqual([...feeds.latents_1 as Float32Array], [8, 9, 10, 11, 12, 13, 14, 15]);
  deepEqual(feeds.loss_weights_2, [0.5, 0.5]);
  // Both are noisier than the limit: their signal-to-noise ratio is below 5.
  deepEqual([...feeds.mse_weights_1 as number[]], [1, 0.5]);
  const early = microBatch(smallInput(2), options, "", 0, new NoiseSchedule()).feeds.mse_weights_1 as number[];
  const alpha = 1 - 0.00085;
  ok(Math.abs(early[0] / (5 * (1 - alpha) / alpha) - 1) < 1e-4);
});

Deno.test("microBatch() repeats equal weights for larger batches, and refuses to guess others", () => {
  const make = (weights: number[]) => () =>
    microBatch(smallInput(3), { loss_weights_1: weights }, "", 0, new NoiseSchedule()).feeds.loss_weights_1;
  deepEqual(make([0.5, 0.5])(), [0.5, 0.5, 0.5]);
  throws(make([1, 0.5]), { message: "Cannot probe: option loss_weights_1 has 2 numbers, the batch has 3 samples" });
});

Deno.test("microBatch() names what does not fit a batch", () => {
  const input = smallInput(2), schedule = new NoiseSchedule();
  input.set("timesteps", { shape: [2, 1], data: Int32Array.of(1, 2) });
  throws(() => microBatch(input, {}, "", 0, schedule), {
    message: "Cannot probe: timesteps has 1 a step, latents_1 a batch of 2",
  });
  input.set("timesteps", smallInput(2).get("timesteps")!).set("noise_2", scalar(1));
  throws(() => microBatch(input, {}, "", 0, schedule), /noise_2 has \[\] behind the steps, wanted \[batch, 4/);
});
