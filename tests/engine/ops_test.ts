import { ok } from "node:assert/strict";
import { Device } from "../../engine/mod.ts";
import { type AnyOpFunction, checkExtremes, checkSample } from "./op_check.ts";

const folder = new URL("../../engine/ops/", import.meta.url);

async function allOps(): Promise<AnyOpFunction[]> {
  const found = new Set<AnyOpFunction>();
  for await (const { name, isFile } of Deno.readDir(folder)) {
    if (!isFile || !name.endsWith(".ts")) continue;
    for (const value of Object.values(await import(new URL(name, folder).href))) {
      if (typeof value === "function" && "definition" in value) found.add(value as AnyOpFunction);
    }
  }
  return [...found].sort((a, b) => a.definition.name.localeCompare(b.definition.name));
}

Deno.test("every op computes its samples, its gradients match central differences, and ±100 stays finite", async (test) => {
  using device = await Device.open();
  const ops = await allOps();
  for (const op of ops) {
    await test.step(op.definition.name, async () => {
      ok(op.definition.samples.length > 0, `${op.definition.name} has no sample`);
      for (const sample of op.definition.samples) {
        if (op.definition.overwrites) continue; // these change variables: training's own tests run them
        await checkSample(device, op, sample);
        await checkExtremes(device, op, sample);
      }
    });
  }
});
