import { deepEqual } from "node:assert/strict";
import { Device, input, matmul, plan, storingActivations } from "../../engine/mod.ts";

async function product(device: Device, options: { f16Arithmetic?: boolean }): Promise<number[]> {
  const a = input("a", [4, 16], "f16"), b = input("b", [16, 4], "f16");
  const y = storingActivations("f16", () => matmul(a, b, null, null));
  const compiled = await device.compile(plan({ outputs: { y } }), options);
  compiled.run({ a: Array(64).fill(100), b: Array(64).fill(100) });
  return [...(await compiled.read("y")).y];
}

Deno.test("on a device that is opened for f16 arithmetic a program can be compiled without", async () => {
  using device = await Device.open({ target: { cpu: false, subgroupSize: 0, f16Arithmetic: true } });
  // WGSL's f16 needs an adapter that has it.
  if (!device.facts.target.f16) return;
  // 16 · 100 · 100 is beyond f16's range: no number as a sum of halves, stored as f16's largest where it is one of f32.
  deepEqual(await product(device, {}), Array(16).fill(Infinity));
  deepEqual(await product(device, { f16Arithmetic: false }), Array(16).fill(65504));
});
