/**
 * Compiles every kernel that a GPU would be given, on an adapter with WebGPU's default limits, and runs the small base's programs with them:
 * `deno task test:drivers`. Where Dawn computes nothing, what it finds wrong with texts and bindings counts.
 *
 * @module
 */
import { deepEqual, ok } from "node:assert/strict";
import { Device, elementCount, type KernelTarget, type Program } from "../../engine/mod.ts";
import { type KernelText, kernelTexts, samplePrograms } from "../engine/kernel_texts.ts";
import { cardTarget } from "../engine/targets.ts";
import { plannedPrograms } from "./programs.ts";

const planned = await plannedPrograms();
const all = new Map<string, readonly Program[]>([
  ["the samples of all ops", [...(await samplePrograms()).values()].flat()],
  ...planned,
]);

const cards = {
  "without f16": {},
  "with f16": { f16: true },
  "with f16 arithmetic": { f16: true, f16Arithmetic: true },
};
for (const [how, card] of Object.entries(cards)) {
  const target: KernelTarget = { ...cardTarget, ...card }, adapter = (await navigator.gpu.requestAdapter())!;
  const device = await adapter.requestDevice({ requiredFeatures: target.f16 ? ["shader-f16"] : [] });
  for (const [what, programs] of all) {
    Deno.test(`the kernels of ${what} compile ${how}`, async () => {
      const texts = kernelTexts(programs, target), wrong = [];
      ok(texts.length > 0);
      for (const text of texts) {
        const error = await compileError(device, text);
        if (error !== null) wrong.push(`${text.label}: ${error}`);
      }
      deepEqual(wrong, [], `${wrong.length} of ${texts.length} kernels`);
    });
  }
}

for (const [what, programs] of planned) {
  if (!what.includes("toy")) continue;
  Deno.test(`${what} is bound as WebGPU wants it`, async () => {
    using device = await Device.open();
    for (const program of programs) {
      const compiled = await device.compile(program);
      compiled.run(
        Object.fromEntries(
          [...program.inputs].map(([name, { type }]) => [name, Array(elementCount(type.shape)).fill(0)]),
        ),
      );
      await device.idle();
    }
  });
}

/** What a device says against a kernel; null if nothing. */
async function compileError(device: GPUDevice, { label, wgsl, accesses }: KernelText): Promise<string | null> {
  device.pushErrorScope("validation");
  const layout = device.createBindGroupLayout({
    entries: [...accesses].map((access, binding) => ({
      binding,
      visibility: GPUShaderStage.COMPUTE,
      buffer: { type: access === "r" ? "read-only-storage" : "storage" },
    })),
  });
  const module = device.createShaderModule({ label, code: wgsl });
  device.createComputePipeline({
    label,
    layout: device.createPipelineLayout({ bindGroupLayouts: [layout] }),
    compute: { module, entryPoint: "main" },
  });
  return (await device.popErrorScope())?.message ?? null;
}
