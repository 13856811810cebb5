import { ok } from "node:assert/strict";
import { type AnyOpFunction, checkExtremes, checkOverwriting, checkSample, openAs } from "./op_check.ts";

const folder = new URL("../../engine/ops/", import.meta.url);

async function allOps(): Promise<AnyOpFunction[]> {
  const found = new Set<AnyOpFunction>();
  for await (const { name, isFile } of Deno.readDir(folder)) {
    if (!isFile || !name.endsWith(".ts") || name.endsWith("_test.ts")) continue;
    for (const value of Object.values(await import(new URL(name, folder).href))) {
      if (typeof value === "function" && "definition" in value) found.add(value as AnyOpFunction);
    }
  }
  return [...found].sort((a, b) => a.definition.name.localeCompare(b.definition.name));
}

const ops = await allOps();
// Kernels differ by adapter. A GPU's, without subgroups, run on a CPU adapter as well, if slowly.
const devices = { "this adapter": await openAs({}), "a GPU": await openAs({ cpu: false, subgroupSize: 0 }) };
addEventListener("unload", () => Object.values(devices).forEach((device) => device.dispose()));

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
}
