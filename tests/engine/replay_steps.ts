import { createHash } from "node:crypto";
import {
  accumulate,
  type CompiledProgram,
  Device,
  gradients,
  groupNorm,
  input,
  linear,
  mean,
  plan,
  randomNormal,
  reshape,
  scale,
  square,
  subtract,
  Variable,
} from "../../engine/mod.ts";

/** A small training: two layers with a norm between, noise from Philox, plain gradient descent on both weights. */
export async function training(device: Device): Promise<{ step: CompiledProgram; weights: Variable[] }> {
  const first = new Variable("first", { shape: [32, 8], dtype: "f32" });
  const second = new Variable("second", { shape: [8, 32], dtype: "f32" });
  const weights = [first, second];
  for (const [i, weight] of weights.entries()) {
    device.upload(weight, Array.from({ length: 256 }, (_, place) => Math.sin(place * (i + 1)) / 8));
  }
  const noise = randomNormal(input("key", [4], "u32"), { shape: [4, 6, 8] });
  const hidden = groupNorm(linear(noise, first.tensor), null, null, { groups: 4, epsilon: 1e-5, silu: true });
  const loss = mean(square(subtract(linear(hidden, second.tensor), scale(noise, { factor: 0.5 }))));
  const descents = gradients(loss, weights.map(({ tensor }) => tensor)).map((gradient, i) =>
    accumulate(weights[i].tensor, scale(reshape(gradient!, weights[i].shape), { factor: -0.05 }), { keep: 1 })
  );
  return { step: await device.compile(plan({ outputs: { loss }, effects: descents })), weights };
}

/** A digest of all weights' and the last loss's bits after some steps of that training. */
export async function digestAfter(device: Device, steps: number): Promise<string> {
  const { step, weights } = await training(device);
  for (let i = 0; i < steps; i++) step.run({ key: [7, 0, 1, i] });
  const hash = createHash("sha256");
  for (const weight of weights) hash.update(new Uint8Array((await device.download(weight)).buffer));
  hash.update(new Uint8Array((await step.read("loss")).loss.buffer));
  device.release(step);
  device.free(weights);
  return hash.digest("hex");
}

if (import.meta.main) {
  using device = await Device.open();
  console.log(await digestAfter(device, 20));
}
