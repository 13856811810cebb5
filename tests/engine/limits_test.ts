import { deepEqual, equal, ok, throws } from "node:assert/strict";
import {
  checkLimits,
  Device,
  embedding,
  guaranteedBindingBytes,
  input,
  plan,
  scale,
  scoped,
  square,
  Variable,
  window,
} from "../../engine/mod.ts";
import { planStep } from "../../training/training_program.ts";
import { dualNetworks, openStableDiffusion } from "../../tools/memory/stable_diffusion.ts";

const smallest = { name: "a small adapter", maxBindingBytes: 1024, maxBufferBytes: 4096 };

Deno.test("checkLimits() names scope, op, tensor, bytes and limit of what an adapter cannot bind", () => {
  const weight = new Variable("unet.weight", { shape: [300], dtype: "f32" });
  const wide = scoped("unet", () => scale(weight.tensor, { factor: 2 }));
  throws(() => checkLimits(plan({ outputs: { wide } }), smallest), {
    name: "RangeError",
    message: "Cannot run scale in unet: x, f32 [300] (unet.weight), takes 1200 bytes, a small adapter binds at most " +
      "1024. Use f16 weights",
  });
  const x = scoped("unet", () => square(input("x", [2, 150])));
  throws(() => checkLimits(plan({ outputs: { x } }), smallest), {
    name: "RangeError",
    message: "Cannot run square in unet: x, f32 [2, 150], takes 1200 bytes, a small adapter binds at most 1024. " +
      "Use a smaller batch, smaller pictures or 16-bit activations",
  });
});

Deno.test("checkLimits() lets a buffer pass that is bound in parts, up to the adapter's largest buffer", () => {
  const quarterOf = (variable: Variable) =>
    plan({ outputs: { y: scale(window(variable.tensor, 256, [256]), { factor: 2 }) } });
  checkLimits(quarterOf(new Variable("all", { shape: [1024], dtype: "f32" })), smallest);
  throws(() => checkLimits(quarterOf(new Variable("all", { shape: [1025], dtype: "f32" })), smallest), {
    name: "RangeError",
    message: "Cannot allocate all: f32 [1025] takes 4100 bytes, a buffer of a small adapter has at most 4096. " +
      "Use f16 weights, or a lower rank",
  });
});

Deno.test("a dual step of SD v1.5 at 512 pixels, f32, rank 128, binds nothing larger than every adapter does", async () => {
  const base = await openStableDiffusion(), networks = dualNetworks(base, 128);
  const shape = { batch: 1, height: 64, width: 64, tokenRows: 1 };
  const program = planStep(
    networks,
    base.schedule,
    [shape, shape],
    { network1Trains: true, orthogonalityOn: true },
    { count: 2, isLast: true },
    {},
  );
  // CLIP's token table (152 MB), a network's weights, moments and gradients (302 MB each) are larger than that as a whole.
  ok(program.variables.filter(({ shape }) => 4 * shape.reduce((a, b) => a * b) > guaranteedBindingBytes).length >= 7);
  checkLimits(program, { name: "any", maxBindingBytes: guaranteedBindingBytes, maxBufferBytes: 2 ** 31 });
});

Deno.test("embedding() looks up rows on both sides of the seam of a table that is too large for one binding", async () => {
  // CLIP's table in f32: 152 MB; 43,690 rows of 3,072 bytes fill 128 MiB, and the first part ends at row 43,690.
  const rows = 49408, size = 768, table = new Variable("token_table", { shape: [rows, size], dtype: "f32" });
  const ids = [0, 43_689, 43_690, 43_691, rows - 1];
  using device = await Device.open();
  device.upload(table, Float32Array.from({ length: rows * size }, (_, i) => Math.floor(i / size) + i % size / 1024));
  const found = embedding(table.tensor, input("ids", [ids.length], "i32"));
  const program = plan({ outputs: { found } });
  equal(program.steps[0].bindings.length, 4, "ids, two parts, the result");
  const compiled = await device.compile(program);
  compiled.run({ ids });
  const { found: values } = await compiled.read("found");
  deepEqual(
    [...values],
    ids.flatMap((id) => Array.from({ length: size }, (_, column) => Math.fround(id + column / 1024))),
  );
});
