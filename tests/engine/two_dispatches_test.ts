import { deepEqual, equal, ok } from "node:assert/strict";
import { mostScratchBytes } from "../../engine/graph/kernel.ts";
import {
  Device,
  dispatchesOf,
  input,
  matmul,
  pack,
  plan,
  type Program,
  reshape,
  silu,
  SlotPool,
  square,
  type Tensor,
} from "../../engine/mod.ts";
import { runGraph, runProgram } from "./interpreter.ts";
import { difference, numbers } from "./op_check.ts";
import { cardTarget, cpuTarget } from "./targets.ts";

const m = 48, n = 36, k = 9002;

/** A product of few results by a long sum, which a GPU takes apart. */
function product(name: string): Tensor {
  return matmul(input(`${name} a`, [m, k]), input(`${name} b`, [k, n]), null, null);
}

function feedsOf({ inputs }: Program): Record<string, number[]> {
  // By the name, so that programs that share an input are fed the same.
  const seed = (name: string) => [...name].reduce((sum, letter) => 31 * sum + letter.charCodeAt(0), 0);
  return Object.fromEntries(
    [...inputs].map(([name, { type: { shape } }]) => [name, numbers(shape[0] * (shape[1] ?? 1), seed(name))]),
  );
}

/** The product by its definition, in f64. */
function reference(a: readonly number[], b: readonly number[]): number[] {
  return Array.from({ length: m * n }, (_, i) => {
    let sum = 0;
    for (let t = 0; t < k; t++) sum += a[Math.floor(i / n) * k + t] * b[t * n + i % n];
    return sum;
  });
}

const dispatches = (program: Program, target: typeof cardTarget) =>
  dispatchesOf(program, target).flatMap((each) => "kernel" in each ? [each] : []);

async function run(device: Device, outputs: Record<string, Tensor>, pool: SlotPool | null = null) {
  const program = plan({ outputs }), compiled = await device.compile(program, { pool });
  compiled.run(feedsOf(program));
  return { compiled, results: await compiled.read(...Object.keys(outputs)) };
}

Deno.test("a product in two dispatches is right, side by side with another to the same bits, and takes the scratch memory it says", async () => {
  using device = await Device.open({ target: { cpu: false, subgroupSize: 0 } });
  const { one, two } = { one: product("one"), two: product("two") };
  const before = device.statistics.bytes;
  const alone = await run(device, { one }), both = await run(device, { one, two });
  for (const [name, { compiled, results }] of [["one", alone], ["one", both], ["two", both]] as const) {
    const feeds = feedsOf(compiled.program);
    const off = difference(results[name] as Float32Array, reference(feeds[`${name} a`], feeds[`${name} b`]));
    ok(off <= 1e-5, `${name} is off by ${off}`);
  }
  deepEqual(both.results.one, alone.results.one);
  deepEqual([alone, both].map(({ compiled }) => compiled.dispatches), [[[0], [0]], [[0, 1], [0, 1]]]);
  const bytes = alone.compiled.scratchBytes;
  ok(bytes >= 2 * 4 * m * n && bytes % (4 * m * n) === 0, `${bytes} bytes for a few times ${m} × ${n} sums`);
  equal(both.compiled.scratchBytes, 2 * bytes);
  const planned = [alone, both].map(({ compiled: { program, scratchBytes } }) => program.peakBytes + scratchBytes);
  equal(device.statistics.bytes - before, planned[0] + planned[1]);
  for (const { compiled } of [alone, both]) device.release(compiled);
  equal(device.statistics.bytes, before);
});

Deno.test("programs of a pool share one scratch buffer, and one that needs more of it replaces it for all", async () => {
  using device = await Device.open({ target: { cpu: false, subgroupSize: 0 } });
  const pool = new SlotPool(device), { one, two } = { one: product("one"), two: product("two") };
  // The first has larger slots: nothing but the scratch buffer is replaced.
  const first = await run(device, { one, most: square(input("most", [4 * m, k])) }, pool);
  const bytes = device.statistics.bytes, second = await run(device, { one, two }, pool);
  equal(device.statistics.bytes - bytes, second.compiled.scratchBytes - first.compiled.scratchBytes);
  ok(device.statistics.bytes > bytes);
  first.compiled.run(feedsOf(first.compiled.program));
  deepEqual((await first.compiled.read("one")).one, first.results.one);
  for (const { compiled } of [first, second]) device.release(compiled);
  pool.dispose();
  equal(device.statistics.bytes, 0);
});

Deno.test("both dispatches together bind what their steps read and write", () => {
  const [a, b, c] = ["a", "b", "c"].map((name) => input(name, name === "b" ? [k, n] : [m, k]));
  const bias = input("bias", [n]),
    outputs = Object.fromEntries(
      [a, c].map((each, i) => [`${i}`, silu(matmul(each, b, bias, silu(matmul(a, b, null, null))))]),
    );
  const program = plan({ outputs }), memory = new Map();
  ok(dispatches(program, cardTarget).some(({ isUnfinished, steps }) => isUnfinished && steps.length > 1));
  const feeds = Object.fromEntries(
    Object.entries(feedsOf(program)).map(([name, values]) => [name, Float64Array.from(values)]),
  );
  // Throws where a dispatch could not be bound, or lacks what its steps need.
  deepEqual(runProgram(program, cardTarget, feeds, memory), runGraph(outputs, [], feeds, memory));
});

Deno.test("a product's sum is taken apart for a GPU alone", () => {
  const program = plan({ outputs: { one: product("one") } });
  deepEqual([cardTarget, cpuTarget].map((target) => dispatches(program, target).length), [2, 1]);
});

Deno.test("products share both their dispatches as far as the scratch memory reaches", () => {
  const names = Array.from({ length: 200 }, (_, i) => `product ${i}`), a = input("a", [m, k]), b = input("b", [k, n]);
  const program = plan({ outputs: Object.fromEntries(names.map((name) => [name, matmul(a, b, null, null)])) });
  const all = dispatches(program, cardTarget), firsts = all.filter(({ isUnfinished }) => isUnfinished);
  ok(firsts.length > 1 && firsts.length < 10, `${firsts.length} dispatches of first parts`);
  const done = new Set<number>();
  for (const [i, first] of all.entries()) {
    if (!first.isUnfinished) continue;
    const second = all[i + 1],
      ends = [first, second].map(({ bindings }) =>
        bindings.filter(({ buffer }) => buffer.kind === "scratch").map(({ offsetBytes, sizeBytes }) =>
          offsetBytes + sizeBytes
        )
      );
    deepEqual([second.isUnfinished, second.steps], [undefined, first.steps]);
    deepEqual(ends[0], ends[1]);
    ok(ends[0].length === 1 && ends[0][0] <= mostScratchBytes, `${ends[0]} bytes of scratch memory`);
    for (const step of first.steps) done.add(step);
  }
  equal(done.size, names.length);
});

Deno.test("products that differ in what is done with their parts' sum have second dispatches of their own", async () => {
  using device = await Device.open({ target: { cpu: false, subgroupSize: 0 } });
  const a = input("a", [m, k]), b = input("b", [k, n]);
  // In one buffer, so that nothing else keeps them apart.
  const products = [1, 0.5].map((scale) => reshape(matmul(a, b, null, null, { scale }), [m * n]));
  const { compiled, results } = await run(device, { both: pack(products, [0, m * n], 2 * m * n) });
  equal(new Set(dispatches(compiled.program, device.facts.target).map(({ kernel }) => kernel.wgsl)).size, 3);
  const both = [...results.both as Float32Array], whole = both.slice(0, m * n);
  deepEqual(both.slice(m * n), whole.map((value) => value / 2));
});
