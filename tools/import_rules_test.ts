import { deepEqual, equal } from "node:assert/strict";
import { findGpuNameViolations, findImportViolations } from "./import_rules.ts";

function messageFor(file: string, imported: string): string | undefined {
  return findImportViolations([{ file, line: 3, imported }])[0]?.message;
}

Deno.test("findImportViolations() lets data flow one way", () => {
  const allowed = [
    ["engine/ops/silu.ts", "engine/graph/op.ts"],
    ["engine/ops/silu.ts", "engine/ops/elementwise.ts"],
    ["engine/autodiff/reverse.ts", "engine/ops/add.ts"],
    ["engine/gpu/compile.ts", "engine/plan/program.ts"],
    ["engine/mod.ts", "engine/gpu/device.ts"],
    ["models/unet/unet.ts", "engine/mod.ts"],
    ["models/unet/unet.ts", "models/noise/schedule.ts"],
    ["data/folder.ts", "formats/safetensors.ts"],
    ["steps/sample.ts", "pipeline/step.ts"],
    ["examples/demo.ts", "mod.ts"],
    ["mod.ts", "steps/sample.ts"],
    ["pipeline/builder.ts", "npm:zod@4"],
    ["pipeline/builder.ts", "node:path"],
  ];
  for (const [file, imported] of allowed) equal(messageFor(file, imported), undefined, `${file} -> ${imported}`);
});

Deno.test("findImportViolations() names what a folder may import when it imports something else", () => {
  equal(
    messageFor("formats/keys.ts", "engine/mod.ts"),
    "imports engine/mod.ts: formats may import none of our folders",
  );
  equal(
    messageFor("engine/plan/slots.ts", "engine/ops/add.ts"),
    "imports engine/ops/add.ts: engine/plan may import engine/graph",
  );
  equal(
    messageFor("engine/graph/op.ts", "engine/mod.ts"),
    "imports engine/mod.ts: engine/graph may import none of our folders",
  );
  equal(
    messageFor("data/folder.ts", "models/vae/vae.ts"),
    "imports models/vae/vae.ts: data may import formats, random",
  );
  equal(
    messageFor("cli/main.ts", "lora/network.ts"),
    "imports lora/network.ts: cli may import steps, pipeline, deno.json",
  );
  equal(messageFor("examples/demo.ts", "steps/sample.ts"), "imports steps/sample.ts: examples may import mod.ts");
  equal(messageFor("engine/mod.ts", "formats/keys.ts")?.startsWith("imports formats/keys.ts: engine may import"), true);
});

Deno.test("findImportViolations() allows the engine's door alone from outside", () => {
  const message = "imports engine/ops/silu.ts: outside of engine/ only engine/mod.ts may be imported";
  equal(messageFor("models/unet/unet.ts", "engine/ops/silu.ts"), message);
  equal(messageFor("bench/main.ts", "engine/ops/silu.ts"), message);
});

Deno.test("findImportViolations() lets tests import anything, and nobody but tests import tests", () => {
  equal(messageFor("formats/keys_test.ts", "engine/gpu/device.ts"), undefined);
  equal(messageFor("tests/ops_test.ts", "engine/ops/silu.ts"), undefined);
  equal(
    messageFor("formats/keys.ts", "formats/keys_test.ts"),
    "imports formats/keys_test.ts: only tests may import tests",
  );
});

Deno.test("findImportViolations() reports folders without a rule, other registries, and the line", () => {
  equal(messageFor("extra/a.ts", "extra/b.ts"), "extra has no rule: add it to the table of tools/import_rules.ts");
  equal(
    messageFor("mod.ts", "https://example.org/x.ts"),
    "imports https://example.org/x.ts: only the npm registry is used",
  );
  equal(messageFor("tests/a_test.ts", "jsr:@std/path"), "imports jsr:@std/path: only the npm registry is used");
  const [violation] = findImportViolations([{ file: "data/a.ts", line: 7, imported: "lora/b.ts" }]);
  deepEqual([violation.file, violation.line], ["data/a.ts", 7]);
});

Deno.test("findGpuNameViolations() finds WebGPU's names in code, not in comments and strings", () => {
  const text = [
    "/** Wraps a GPUDevice. */",
    "// navigator.gpu",
    'const url = "https://x/GPUBuffer";',
    "const device: GPUDevice | null = null;",
    "/*\n GPUQueue\n*/ const manyGPUs = 2;",
    "await navigator.gpu.requestAdapter();",
  ].join("\n");
  deepEqual(findGpuNameViolations("models/a.ts", text).map(({ line, message }) => [line, message.split(":")[0]]), [
    [4, "names GPUDevice"],
    [8, "names navigator.gpu"],
  ]);
  for (const exempt of ["engine/gpu/device.ts", "tools/probe.ts", "tests/a.ts", "engine/graph/a_test.ts"]) {
    deepEqual(findGpuNameViolations(exempt, text), []);
  }
});
