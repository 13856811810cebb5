import { ok, rejects, throws } from "node:assert/strict";
import {
  adapterLimits,
  add,
  checkF16Arithmetic,
  concat,
  defineOp,
  Device,
  groupNorm,
  input,
  layerNorm,
  permute,
  plan,
  randomUniform,
  reshape,
  scale,
  scoped,
  slice,
  Variable,
  window,
} from "../../engine/mod.ts";

Deno.test("a shape error names the op, the scope and both shapes", () => {
  const trace = () =>
    scoped("unet", () => scoped("down_blocks.0.resnets.0", () => add(input("a", [2, 3]), input("b", [2, 4]))));
  throws(trace, {
    name: "TypeError",
    message: "Cannot add in unet.down_blocks.0.resnets.0: shapes differ: a is [2, 3], b is f32 [2, 4]",
  });
});

Deno.test("each op says what it was given and what it wanted", () => {
  const x = input("x", [2, 7, 6]);
  const cases: [() => unknown, string][] = [
    [
      () => groupNorm(x, null, null, { groups: 4, epsilon: 1e-5 }),
      "Cannot group_norm_statistics: x is [2, 7, 6], wanted channels in 4 groups",
    ],
    [
      () => layerNorm(x, input("weight", [7]), null, { epsilon: 1e-5 }),
      "Cannot layer_norm: shapes differ: x is [2, 7, 6], weight is [7]",
    ],
    [
      () => concat(x, input("b", [2, 7]), { axis: 1 }),
      "Cannot concat: shapes differ: a is f32 [2, 7, 6], b is f32 [2, 7], joined along axis 1",
    ],
    [
      () => slice(x, { axis: 1, start: 5, length: 3 }),
      "Cannot slice: x is f32 [2, 7, 6], wanted 5 to 8 along axis 1",
    ],
    [
      () => permute(x, { order: [0, 1] }),
      "Cannot permute: x is f32 [2, 7, 6], wanted as many axes as in the order [0, 1]",
    ],
    [
      () => randomUniform(x, { shape: [4] }),
      "Cannot random_uniform: key is f32 [2, 7, 6], wanted u32 [4]: seed low, seed high, stream, step",
    ],
    [() => reshape(x, [5]), "Cannot reshape: [2, 7, 6] has 84 elements, [5] 5"],
    [() => window(x, 3, [1]), "Cannot take a window: offset 3 is not a multiple of 256 bytes"],
  ];
  for (const [trace, message] of cases) throws(trace, { message });
});

Deno.test("run() and read() refuse names and lengths that the program does not have", async () => {
  using device = await Device.open();
  const compiled = await device.compile(plan({ outputs: { y: scale(input("latents", [2, 3]), { factor: 2 }) } }));
  throws(() => compiled.run({ latents: [1, 2, 3] }), {
    name: "TypeError",
    message: "Cannot upload latents: 3 elements, f32 [2, 3] wants 6",
  });
  throws(() => compiled.run({ latents: Array(6).fill(0), mask: [1] }), {
    name: "TypeError",
    message: "Cannot run: mask is no input; inputs are latents",
  });
  throws(() => compiled.run(), { name: "TypeError", message: "Cannot run: input latents is missing" });
  await rejects(compiled.read("z"), { name: "TypeError", message: "Cannot read z: outputs are y" });
  device.release(compiled);
  throws(() => compiled.run({ latents: Array(6).fill(0) }), { message: "Cannot run: the program was released" });
});

Deno.test("f16 arithmetic is refused by a CPU, and by a card without shader-f16", async () => {
  const refusals = [
    ["llvmpipe", true, true, "it is a CPU, which takes longer for that than for f32"],
    ["GTX 1060", false, false, "the adapter does not offer shader-f16"],
  ] as const;
  for (const [name, cpu, f16, reason] of refusals) {
    throws(() => checkF16Arithmetic({ name, cpu, f16 }), {
      name: "RangeError",
      message:
        `Cannot multiply in f16 on ${name}: ${reason}. Leave out f16Arithmetic (--f16_arithmetic), or use a card whose driver offers it`,
    });
  }
  checkF16Arithmetic({ name: "T4", cpu: false, f16: true });
  // Opening asks the machine's own adapter.
  const { cpu, f16 } = await adapterLimits(), opening = Device.open({ f16Arithmetic: true });
  if (cpu || !f16) await rejects(opening, { name: "RangeError", message: /^Cannot multiply in f16 on / });
  else (await opening).dispose();
});

Deno.test("compile() names the tensor that the adapter cannot bind, and the way out", async () => {
  using device = await Device.open();
  const elements = device.facts.maxBindingBytes / 4 + 64;
  const table = new Variable("token_table", { shape: [elements], dtype: "f32" });
  await rejects(device.compile(plan({ outputs: { y: scale(table.tensor, { factor: 2 }) } })), (error: Error) => {
    ok(error instanceof RangeError);
    ok(error.message.includes(`${elements * 4} bytes`) && error.message.includes("Use f16 weights"), error.message);
    return true;
  });
});

Deno.test("compile() shows the line of WGSL that does not compile, under the op's name and scope", async () => {
  using device = await Device.open();
  const broken = defineOp({
    name: "broken",
    inputs: ["x"],
    type: ({ x }) => ({ shape: x.shape, dtype: "f32" }),
    kernel: () => ({ workgroups: [1, 1, 1], wgsl: "@compute @workgroup_size(1)\nfn main() { let y = x; }\n" }),
    samples: [],
  });
  const y = scoped("unet", () => broken(input("x", [4])));
  await rejects(device.compile(plan({ outputs: { y } })), (error: Error) => {
    ok(error instanceof SyntaxError);
    ok(error.message.startsWith("Cannot compile broken unet: line 2: fn main() { let y = x; }"), error.message);
    return true;
  });
});

Deno.test("a device that is given up for want of memory is told as full, not as lost", async () => {
  using device = await Device.open();
  const variable = new Variable("activations", { shape: [256], dtype: "f32" });
  device.upload(variable, new Float32Array(256));
  device.gpu.destroy();
  await device.gpu.lost;
  throws(() => device.check(), { name: "DeviceLostError" });
  // As wgpu does where a card has no room left for what it needs itself.
  device.gpu.dispatchEvent(new GPUUncapturedErrorEvent("uncapturederror", { error: new GPUOutOfMemoryError("full") }));
  throws(() => device.check(), { name: "OutOfMemoryError", message: /The largest are activations, 1024 bytes/ });
});
