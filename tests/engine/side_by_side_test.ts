import { ok } from "node:assert/strict";
import {
  accumulate,
  countDispatches,
  Device,
  input,
  matmul,
  multiply,
  pack,
  plan,
  type PlanOptions,
  reshape,
  square,
  type Tensor,
  Variable,
  window,
} from "../../engine/mod.ts";

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
