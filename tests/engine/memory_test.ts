import { deepEqual, equal, ok, rejects, throws } from "node:assert/strict";
import {
  add,
  attention,
  checkpointed,
  conv2d,
  Device,
  embedding,
  fill,
  gradients,
  input,
  linear,
  mean,
  pack,
  plan,
  pooledBytes,
  type Program,
  scale,
  SlotPool,
  square,
  sum,
  Variable,
} from "../../engine/mod.ts";
import { BaseModel } from "../../models/base_model.ts";
import { planStep } from "../../training/training_program.ts";
import { dualNetworks } from "../../tools/memory/stable_diffusion.ts";

/** A dual step of the small base: hundreds of slots, windows, packs, variables that are overwritten. */
async function dualStep(options: { precision: "f32" | "f16"; batch: number; gradientCheckpointing: boolean }) {
  const folder = new URL("../../assets/toy/base", import.meta.url).pathname;
  const base = await BaseModel.open(folder, options), networks = dualNetworks(base, 4);
  return planStep(
    networks,
    base.schedule,
    networks.map(() => ({ batch: options.batch, height: 8, width: 8, tokenRows: 1 })),
    { network1Trains: true, orthogonalityOn: true },
    { count: 2, isLast: true },
    { gradientCheckpointing: options.gradientCheckpointing },
  );
}

function smallPrograms(): Record<string, Program> {
  const x = input("x", [2, 8, 8, 4]), weight = new Variable("weight", { shape: [3, 3, 4, 5], dtype: "f16" });
  const y = conv2d(x, weight.tensor, null, null, { stride: 1, padding: [1, 1, 1, 1] });
  const table = new Variable("table", { shape: [7, 3], dtype: "f32" }),
    w = new Variable("w", { shape: [6, 6], dtype: "f32" });
  const tokens = checkpointed(() => linear(input("tokens", [1, 7, 6]), w.tensor));
  const o = attention(tokens, tokens, tokens, { heads: 2 });
  return {
    "a convolution by f16 weights": plan({ outputs: { y, mean: mean(y) } }),
    "a table of 84 bytes and one id": plan({ outputs: { row: embedding(table.tensor, input("id", [1], "i32")) } }),
    "attention with gradients": plan({ outputs: { byW: gradients(sum(o), [w.tensor], { checkpointing: true })[0]! } }),
    "a pack with gaps": plan({ outputs: { packed: pack([square(fill({ shape: [3], value: 2 }))], [64], 99) } }),
  };
}

Deno.test("a device allocates as many bytes as the plan says", async () => {
  const programs = {
    ...smallPrograms(),
    "a dual step": await dualStep({ precision: "f32", batch: 1, gradientCheckpointing: false }),
    "a dual step in f16 with checkpointing": await dualStep({
      precision: "f16",
      batch: 2,
      gradientCheckpointing: true,
    }),
  };
  using device = await Device.open();
  for (const [name, program] of Object.entries(programs)) {
    const before = device.statistics.bytes, compiled = await device.compile(program);
    // Kernels of a GPU have their sizes in their text; a CPU's read them from a uniform beside slots and variables.
    equal(compiled.sizesBytes > 0, device.facts.target.cpu, name);
    equal(device.statistics.bytes - before, program.peakBytes + compiled.sizesBytes + compiled.scratchBytes, name);
    device.release(compiled);
    device.free(program.variables);
    equal(device.statistics.bytes, before, name);
  }
});

/** Of reading what the pool's buffers no longer hold. */
const lost = (name: string) => ({
  message:
    `Cannot read ${name}: the program has not run, or another of its pool has since, or was compiled and needed ` +
    "larger buffers. Run it again, or read before that",
});

Deno.test("programs of a pool take together what pooledBytes() says, and each computes what it does alone", async () => {
  const steps = [1, 3, 2].map((batch) => {
    const x = input("x", [batch, 64]), w = new Variable(`w${batch}`, { shape: [64, 64], dtype: "f32" });
    const y = linear(square(linear(x, w.tensor)), w.tensor);
    return {
      program: plan({ outputs: { y, mean: mean(y) } }),
      w,
      x: Array.from({ length: 64 * batch }, (_, i) => i % 7),
    };
  });
  using device = await Device.open();
  for (const { w } of steps) device.upload(w, Array.from({ length: 64 * 64 }, (_, i) => (i % 5 - 2) / 8));
  const alone = [];
  for (const { program, x } of steps) {
    const compiled = await device.compile(program);
    compiled.run({ x });
    alone.push(await compiled.read("y", "mean"));
    device.release(compiled);
  }
  const variables = steps.reduce((bytes, { w }) => bytes + 4 * w.shape[0] * w.shape[1], 0);
  equal(device.statistics.bytes, variables);

  const pool = new SlotPool(device), pooled = [];
  // The second is larger than the first: the pool replaces its buffers, and the first must find the new ones.
  for (const { program } of steps) pooled.push(await device.compile(program, { pool }));
  const sizes = pooled.reduce((bytes, compiled) => bytes + compiled.sizesBytes, 0);
  equal(device.statistics.bytes, pooledBytes(steps.map(({ program }) => program)) + sizes);
  // Twice, so that each runs after another has used the buffers.
  for (const round of [0, 1]) {
    for (const [i, { x }] of steps.entries()) {
      pooled[i].run({ x });
      deepEqual(await pooled[i].read("y", "mean"), alone[i], `round ${round}, program ${i}`);
    }
  }
  await rejects(pooled[0].read("y"), lost("y"));
  for (const compiled of pooled) device.release(compiled);
  pool.dispose();
  equal(device.statistics.bytes, variables);
});

Deno.test("a run that is refused leaves what another program of its pool made", async () => {
  using device = await Device.open();
  const pool = new SlotPool(device), [a, b, c] = ["a", "b", "c"].map((name) => input(name, [64]));
  const first = await device.compile(plan({ outputs: { y: scale(a, { factor: 2 }) } }), { pool });
  const second = await device.compile(plan({ outputs: { sum: add(add(a, b), c) } }), { pool });
  const long = new Float32Array(64).fill(7), feeds = { a: long, b: long, c: long };
  first.run({ a: new Float32Array(64).fill(3) });
  // Two inputs are in order, and one of them would be written where the first program's output lies.
  for (const name of ["a", "b", "c"]) {
    throws(() => second.run({ ...feeds, [name]: long.slice(1) }), {
      message: `Cannot upload ${name}: 63 elements, f32 [64] wants 64`,
    });
  }
  throws(() => second.run({ a: long, b: long }), { message: "Cannot run: input c is missing" });
  deepEqual((await first.read("y")).y, new Float32Array(64).fill(6));
});

Deno.test("what a pool's replaced buffers held is refused by name, and the device goes on", async () => {
  using device = await Device.open();
  const pool = new SlotPool(device), program = (count: number) => plan({ outputs: { y: square(input("x", [count])) } });
  const small = await device.compile(program(64), { pool });
  small.run({ x: new Float32Array(64).fill(3) });
  const large = await device.compile(program(6400), { pool });
  await rejects(small.read("y"), lost("y"));
  small.run({ x: new Float32Array(64).fill(3) });
  deepEqual((await small.read("y")).y, new Float32Array(64).fill(9));
  device.release(small);
  await rejects(small.read("y"), { message: "Cannot read y: the program was released" });
  large.run({ x: new Float32Array(6400).fill(2) });
  deepEqual((await large.read("y")).y, new Float32Array(6400).fill(4));
});

Deno.test("pooledBytes() is the larger of two plans' slots, rank by rank, and every variable once", () => {
  const w = new Variable("w", { shape: [100], dtype: "f32" }), x = input("x", [100]);
  // Slots by hand: two of 400 bytes; and one of 1,600 with one of 400.
  const one = plan({ outputs: { y: add(scale(x, { factor: 2 }), w.tensor) } });
  const two = plan({ outputs: { y: fill({ shape: [400], value: 1 }), z: scale(w.tensor, { factor: 2 }) } });
  deepEqual([[...one.slots], [...two.slots].sort((a, b) => b - a)], [[400, 400], [1600, 400]]);
  equal(pooledBytes([one, two]), 1600 + 400 + 400);
});

Deno.test("what a pack's parts leave out is zero in every run, whatever its slot held before", async () => {
  const x = input("x", [256]), before = sum(square(square(x)));
  const packed = pack([scale(x, { factor: 3 }), scale(x, { factor: 5 })], [64, 384], 704);
  // `before` is larger nowhere, but its square lies in the pack's slot first.
  const spread = square(add(fill({ shape: [704], value: 7 }), before));
  const total = sum(spread),
    program = plan({ outputs: { total, packed: add(packed, fill({ shape: [704], value: 0 })) } });
  const location = program.lives.filter(({ sizeBytes }) => sizeBytes === 4 * 704);
  ok(new Set(location.map(({ slot }) => slot)).size < location.length, "the pack shares a slot with other values");
  using device = await Device.open();
  const compiled = await device.compile(program), values = Array.from({ length: 256 }, (_, i) => i + 1);
  for (const factor of [1, -2]) {
    compiled.run({ x: values.map((value) => factor * value) });
    const expected = Array<number>(704).fill(0);
    values.forEach((value, i) => {
      expected[64 + i] = 3 * factor * value;
      expected[384 + i] = 5 * factor * value;
    });
    deepEqual([...(await compiled.read("packed")).packed].map((value) => value + 0), expected);
  }
});

Deno.test("attention and its gradients keep nothing of tokens × tokens: no slot is larger than q, k or v", () => {
  // SD v1.5 at 512 pixels, where heads have 40, 80 and 160 channels; to itself and to a prompt of 77 tokens.
  for (const [tokens, size] of [[4096, 40], [1024, 80], [256, 160], [4096, 160]]) {
    for (const keys of [tokens, 77]) {
      const heads = 8, channels = heads * size;
      const q = input("q", [1, tokens, channels]),
        k = input("k", [1, keys, channels]),
        v = input("v", [1, keys, channels]);
      const dy = input("dy", q.shape), by = { q, k, v };
      const found = gradients(attention(q, k, v, { heads }), Object.values(by), { seed: dy });
      const program = plan({ outputs: Object.fromEntries(found.map((gradient, i) => [`d${i}`, gradient!])) });
      deepEqual(
        program.steps.map((step) => step.kind === "node" ? step.node.op.name : step.kind).sort(),
        ["attention", "attention_delta", "attention_key_value_gradient", "attention_query_gradient"],
      );
      equal(Math.max(...program.slots), 4 * tokens * channels);
      // q, dy, o, dq; k, v, dk, dv; the logarithms of sums and what the gradients share, one number for each head and token.
      const all = 4 * (4 * tokens * channels + 4 * keys * channels + 2 * heads * tokens);
      ok(program.slots.reduce((a, b) => a + b) <= all, `${tokens} tokens to ${keys}`);
    }
  }
});
