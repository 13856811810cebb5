import { equal, ok } from "node:assert/strict";
import { input, plan, type Tensor } from "../../engine/mod.ts";
import { uniformByRule } from "../../formats/weights_by_rule.ts";
import { LoraNetwork } from "../../lora/network.ts";
import { NoiseSchedule } from "../../models/noise/schedule.ts";
import { toNhwc } from "../../tools/probe/tensors.ts";
import { huberThreshold, type LossOptions, sampleLoss } from "../../training/loss.ts";
import { makeUpdater } from "../../training/network_settings.ts";
import type { TrainableBase } from "../../training/denoising.ts";
import { haltFlag, traceStep } from "../../training/step_graph.ts";
import { goldenJson, goldenTensors, sharedDevice } from "../probe/golden_tensors.ts";

const { shape, timesteps, cases, zero_terminal_alphas_cumprod } = await goldenJson("training/losses");
const [batch, channels, height, width] = shape as number[], size = shape.reduce((a: number, b: number) => a * b);

function near(found: number, wanted: number, limit: number, what: string) {
  ok(Math.abs(found - wanted) <= limit * Math.max(Math.abs(wanted), 1e-3), `${what}: ${found}, wanted ${wanted}`);
}

Deno.test("sampleLoss() is sd-scripts' loss of each sample, for every type, threshold and schedule", async () => {
  const device = await sharedDevice(), schedule = new NoiseSchedule();
  const picture = (name: string) => toNhwc({ shape, data: uniformByRule(`losses.${name}`, size) }).data;
  equal(cases.length, 14);
  for (const { loss_type: type, huber_schedule: huberSchedule, huber_c: huberC, losses, thresholds } of cases) {
    const what = `${type} ${huberSchedule} ${huberC}`;
    const own = timesteps.map((t: number) =>
      huberThreshold(t, schedule.alphasCumprod[t], { trainTimesteps: 1000, huberC, huberSchedule })
    );
    thresholds?.forEach((wanted: number, i: number) => near(own[i], wanted, 1e-4, `${what}: threshold ${i}`));
    const tensor = (name: string) => input(name, [batch, height, width, channels]);
    const loss = sampleLoss(
      tensor("prediction"),
      tensor("target"),
      type,
      thresholds ? input("threshold", [batch]) : null,
    );
    const program = await device.compile(plan({ outputs: { loss } }));
    const feeds = { prediction: picture("prediction"), target: picture("target") };
    program.run(thresholds ? { ...feeds, threshold: own } : feeds);
    const { loss: found } = await program.read("loss");
    losses.forEach((wanted: number, i: number) => near(found[i], wanted, 1e-4, `${what}: sample ${i}`));
    device.release(program);
  }
});

/** A base whose text and prediction are what they are given: its loss tells what a step feeds it. */
const echo: TrainableBase = {
  latentScale: 1,
  encode: (ids) => ids,
  denoise: (sample: Tensor) => sample,
};

Deno.test("a noise offset is added to the noise before latents are made noisy, and belongs to the target", async () => {
  const golden = await goldenTensors("models/schedule"), device = await sharedDevice(), schedule = new NoiseSchedule();
  const tensor = (name: string) => golden.get(name)!, own = Array.from(tensor("timesteps").data);
  const lora = new LoraNetwork("network 1", {
    unet: [{ path: "x", kind: "linear", inSize: 4, outSize: 4, kernel: 0, stride: 0, family: "Transformer2DModel" }],
  }, { rank: 1 });
  const loss: LossOptions = { noiseOffset: 0.1 };
  const graph = traceStep([{
    number: 1,
    base: echo,
    lora,
    ...makeUpdater(lora, { learningRate: 1, loss }),
    shape: { batch: 8, height: 4, width: 4, tokenRows: 1 },
    trains: false,
  }], {
    form: "clean",
    orthogonality: { on: false, textCoefficient: 1, unetCoefficient: 1, divergenceCoefficient: 0, textMask: "1-I" },
    vParameterization: false,
    accumulation: { count: 1, isLast: true },
    noise: "fed",
    allFigures: true,
    gradientCheckpointing: false,
    halted: haltFlag(),
  });
  const program = await device.compile(plan({ outputs: { mse: graph.figures.mse_1 } }));
  const coefficients = schedule.addNoiseCoefficients(own);
  program.run({
    latents_1: toNhwc(tensor("latents")).data,
    noise_1: toNhwc(tensor("noise")).data,
    offset_1: toNhwc(tensor("offset")).data,
    signal_1: coefficients.latents,
    sigma_1: coefficients.noise,
  });
  const { mse } = await program.read("mse"), noisy = tensor("noisy_with_offset").data;
  const target = tensor("noise_with_offset").data, cells = noisy.length / 8;
  for (const [i, found] of mse.entries()) {
    let sum = 0;
    for (let at = i * cells; at < (i + 1) * cells; at++) sum += (noisy[at] - target[at]) ** 2;
    near(found, sum / cells, 1e-4, `sample ${i}`);
  }
  device.release(program);
});

Deno.test("zeroTerminalAlphas() is sd-scripts' schedule with zero terminal SNR, and ends with 0", async () => {
  const alphas = new NoiseSchedule().zeroTerminalAlphas(), golden = await goldenTensors("models/schedule");
  const wanted = golden.get("zero_snr.alphas_cumprod")!.data;
  equal(alphas.length, wanted.length);
  alphas.forEach((alpha, t) => ok(Math.abs(alpha - wanted[t]) <= 1e-6, `timestep ${t}: ${alpha}, wanted ${wanted[t]}`));
  equal(alphas.at(-1), 0);
  zero_terminal_alphas_cumprod.forEach((value: number, i: number) => ok(Math.abs(alphas[37 * i] - value) <= 1e-6));
});
