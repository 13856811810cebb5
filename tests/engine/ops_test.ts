import { Device } from "../../engine/mod.ts";
import { ok } from "node:assert/strict";
import { type AnyOp, inputNames } from "../../engine/graph/op.ts";
import { allOps } from "./all_ops.ts";
import { checkBeside, checkExtremes, checkOverwriting, checkSample } from "./op_check.ts";

const ops = await allOps();
// Kernels differ by adapter. A GPU's, without subgroups, run on a CPU adapter as well, if slowly.
const devices = {
  "this adapter": await Device.open(),
  "a GPU": await Device.open({ target: { cpu: false, subgroupSize: 0 } }),
};
const gpuWithoutF16 = await Device.open({ target: { cpu: false, subgroupSize: 0, f16: false } });
addEventListener("unload", () => [...Object.values(devices), gpuWithoutF16].forEach((device) => device.dispose()));

/** Formats of 16 bits with a device for each: WGSL's own f16, and elements in pairs, by kernels of both kinds. */
const storedOn = [
  { how: "f16", stored: "f16", device: devices["this adapter"] },
  { how: "bf16", stored: "bf16", device: devices["this adapter"] },
  { how: "f16 on a GPU that lacks it", stored: "f16", device: gpuWithoutF16 },
] as const;
/** Ops that real checkpoints' largest activations go through. */
const takesLargest = ["attention", "group_norm", "layer_norm", "softmax", "log_softmax"];

for (const op of ops) {
  const { name, samples, overwrites } = op.definition;
  for (const [target, device] of Object.entries(devices)) {
    if (overwrites) {
      Deno.test(`${name} changes its variables as its samples say, as on ${target}`, async () => {
        ok(samples.length > 0, `${name} has no sample`);
        for (const sample of samples) await checkOverwriting(device, op, sample);
      });
      continue;
    }
    Deno.test(`${name} computes its samples, its gradients match differences, extremes stay finite, as on ${target}`, async () => {
      ok(samples.length > 0, `${name} has no sample`);
      for (const sample of samples) {
        if (sample.ownKernelsOnly && target !== "this adapter") continue;
        await checkSample(device, op, sample);
        await checkExtremes(device, op, sample);
      }
    });
  }
  for (const [target, device] of Object.entries(overwrites || (op.definition as AnyOp).runsAlone ? {} : devices)) {
    Deno.test(`${name} runs beside itself in one dispatch, to the same bits, as on ${target}`, async () => {
      const sample = samples.filter(({ ownKernelsOnly }) => !ownKernelsOnly || target === "this adapter").at(-1)!;
      await checkBeside(device, op, sample);
    });
  }
  // Optimizers keep and read f32 alone.
  const given = inputNames(op.definition as AnyOp);
  if (overwrites || given.includes("halted") || given.includes("table")) continue;
  for (const { how, stored, device } of storedOn) {
    Deno.test(`${name} computes its samples from inputs and to activations in ${how}, its gradients match differences`, async () => {
      for (const sample of samples) {
        if (sample.ownKernelsOnly && device === gpuWithoutF16) continue;
        await checkSample(device, op, sample, stored);
      }
    });
    if (stored !== "f16" || !(op.definition.narrows || takesLargest.includes(name))) continue;
    Deno.test(`${name} and its gradients stay finite where values are ±60,000 in ${how}`, async () => {
      for (const sample of samples) {
        if (sample.ownKernelsOnly && device === gpuWithoutF16) continue;
        await checkExtremes(device, op, sample, stored, [60_000, 60_000, -60_000]);
      }
    });
  }
}
