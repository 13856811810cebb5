import { deepEqual, equal, ok } from "node:assert/strict";
import {
  accumulate,
  countDispatches,
  Device,
  dispatchesOf,
  input,
  linear,
  matmul,
  multiply,
  pack,
  plan,
  type PlanOptions,
  reshape,
  silu,
  sqrt,
  square,
  type Tensor,
  upsampleNearest,
  Variable,
  window,
} from "../../engine/mod.ts";
import { cardTarget, cpuTarget } from "./targets.ts";

const ones = (count: number) => new Float32Array(count).fill(1);

Deno.test("what an op left in a variable is read, not what was there when the run began", async () => {
  using device = await Device.open();
  const a = new Variable("a", { shape: [256], dtype: "f32" }), b = new Variable("b", { shape: [256], dtype: "f32" });
  device.upload(a, new Float32Array(256).fill(2));
  device.upload(b, new Float32Array(256).fill(0.5));
  // Ten readers of both, side by side, so that the variables are copied into one buffer.
  const powerOf = (x: Tensor, { tensor }: Variable) =>
    Array.from({ length: 10 }).reduce<Tensor>((x) => multiply(x, tensor), x);
  const outputs = {
    a: square(accumulate(a.tensor, powerOf(input("x", [256]), a))),
    b: square(accumulate(b.tensor, powerOf(input("y", [256]), b))),
  };
  const options: PlanOptions = { outputs };
  ok(
    countDispatches(plan(options), device.facts.target) <
      countDispatches(plan({ ...options, fused: false }), device.facts.target),
  );
  const program = await device.compile(plan(options));
  program.run({ x: ones(256), y: ones(256) });
  const read = await program.read("a", "b");
  // (2¹⁰)² and (2⁻¹⁰)², both exact.
  ok(read.a.every((value) => value === 2 ** 20), `a is ${read.a[0]}`);
  ok(read.b.every((value) => value === 2 ** -20), `b is ${read.b[0]}`);
});

Deno.test("chains are planned that are longer than a thread's stack is deep", () => {
  let x = input("x", [64]), y = input("y", [64]);
  const length = 4000;
  for (let i = 0; i < length; i++) x = silu(x);
  for (let i = 0; i < length; i++) y = square(y);
  // What comes last is a group, so the whole second chain has to come before the first one's end.
  equal(plan({ outputs: { x: sqrt(x), y: sqrt(y) } }).steps.length, 2 * length + 2);
});

Deno.test("batches of different size are computed whole", async () => {
  using device = await Device.open();
  const size = 64 * 64, x = input("x", [6 * size]), y = input("y", [6 * size]);
  const product = (at: number, batch: number) =>
    reshape(matmul(window(x, at * size, [batch, 64, 64]), window(y, at * size, [batch, 64, 64]), null, null), [
      batch * size,
    ]);
  const program = await device.compile(
    plan({ outputs: { p: pack([product(0, 2), product(2, 4)], [0, 2 * size], 6 * size) } }),
  );
  program.run({ x: ones(6 * size), y: ones(6 * size) });
  const { p } = await program.read("p");
  ok(p.every((value) => value === 64), `${p.filter((value) => value !== 64).length} of ${p.length} are not 64`);
});

/** Squares of windows of `x`, 64 numbers each, in an order of no equal steps. */
function scattered(count: number): Tensor {
  const x = input("x", [count * 64]);
  const parts = Array.from({ length: count }, (_, i) => square(window(x, i * 7 % count * 64, [64])));
  return pack(parts, parts.map((_, i) => i * 64), count * 64);
}

for (const [kind, changes] of Object.entries({ "this adapter": {}, "a GPU": { cpu: false, subgroupSize: 0 } })) {
  Deno.test(`two hundred steps at scattered places share a dispatch, as on ${kind}`, async () => {
    using device = await Device.open({ target: changes });
    const y = scattered(200), compiled = await device.compile(plan({ outputs: { y } }));
    equal(compiled.dispatches.length, 1);
    const numbers = Float32Array.from({ length: 200 * 64 }, (_, i) => i % 4093);
    compiled.run({ x: numbers });
    const found = (await compiled.read("y")).y;
    const wanted = numbers.map((_, i) => numbers[Math.floor(i / 64) * 7 % 200 * 64 + i % 64] ** 2);
    deepEqual(found, wanted);
  });
}

Deno.test("on a CPU adapter kernels that are stacked for few runs have one text, whatever their number", () => {
  const texts = [2, 3, 5, 8].map((count) => {
    const [dispatch] = dispatchesOf(plan({ outputs: { y: scattered(count) } }), cpuTarget);
    ok("kernel" in dispatch && dispatch.steps.length === count);
    return dispatch.kernel.wgsl;
  });
  equal(new Set(texts).size, 1);
});

Deno.test("on a CPU adapter kernels are joined where their text pays for the time to compile it", () => {
  /** Layers of two networks of which one has fewer rows, so that they cannot be stacked. */
  const layers = (count: number) => {
    const weight = input("weight", [64, 64]);
    let x = input("x", [64, 64]), y = input("y", [32, 64]);
    for (let i = 0; i < count; i++) [x, y] = [linear(x, weight), linear(y, weight)];
    return plan({ outputs: { x, y } });
  };
  // One text for all layers, of between 2,000 and 8,000 characters.
  deepEqual([1, 4].map((count) => countDispatches(layers(count), cpuTarget)), [2, 4]);
  deepEqual([1, 4].map((count) => countDispatches(layers(count), cardTarget)), [1, 4]);
});

Deno.test("on a CPU adapter kernels that shift by different numbers have one text", () => {
  const texts = [4, 8, 64].map((size) => {
    const y = upsampleNearest(input("x", [1, size, size, 4]));
    const [dispatch] = dispatchesOf(plan({ outputs: { y } }), cpuTarget);
    ok("kernel" in dispatch);
    return dispatch.kernel.wgsl;
  });
  equal(new Set(texts).size, 1);
});
