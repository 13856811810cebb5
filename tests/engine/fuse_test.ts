import { deepEqual, ok } from "node:assert/strict";
import { add, Device, input, linear, matmul, plan, type PlanOptions, silu, window } from "../../engine/mod.ts";

/** A layer with its low-rank part: 5 × 8 → 12, rank 4, scale 2. */
function adapted() {
  const x = input("x", [5, 8]), middle = linear(x, input("down", [4, 8]));
  const layer = linear(x, input("weight", [12, 8]), input("bias", [12]));
  return { layer, middle, output: linear(middle, input("up", [12, 4]), null, { addend: layer, scale: 2 }) };
}

const opsOf = (options: PlanOptions) =>
  plan(options).steps.map((step) => step.kind === "node" ? step.node.op.name : step.kind);

Deno.test("a layer and its low-rank part run in one dispatch", () => {
  deepEqual(opsOf({ outputs: { y: adapted().output } }), ["matmul", "matmul_pair"]);
});

Deno.test("a layer's output that others want too is not absorbed", () => {
  const { layer, output } = adapted();
  deepEqual(opsOf({ outputs: { y: output, layer } }), ["matmul", "matmul", "matmul"]);
  deepEqual(opsOf({ outputs: { y: output, z: silu(layer) } }), ["matmul", "matmul", "matmul", "silu"]);
});

Deno.test("products that lie differently, or of which a part alone is added, stay two", () => {
  const x = input("x", [8, 8]), first = matmul(x, input("a", [8, 8]), null, null);
  const transposed = matmul(x, input("b", [8, 8]), null, first, { transposeB: true });
  deepEqual(opsOf({ outputs: { transposed } }), ["matmul", "matmul"]);
  const wide = matmul(input("w", [16, 8]), input("a", [8, 8]), null, null);
  const part = matmul(x, input("b", [8, 8]), null, window(wide, 64, [8, 8]));
  deepEqual(opsOf({ outputs: { part } }), ["matmul", "matmul"]);
});

Deno.test("a fused graph computes what the parts do, whichever product has the longer sum", async () => {
  using device = await Device.open();
  const values = (count: number, seed: number) => Float32Array.from({ length: count }, (_, i) => Math.sin(seed + i));
  const feeds = {
    x: values(40, 1),
    down: values(32, 2),
    weight: values(96, 3),
    bias: values(12, 4),
    up: values(48, 5),
  };
  const row = (matrix: Float32Array, size: number, at: number) => matrix.subarray(at * size, at * size + size);
  const dot = (a: ArrayLike<number>, b: ArrayLike<number>) =>
    Array.from(a).reduce((sum, value, i) => sum + value * b[i], 0);
  const expected = Array.from({ length: 60 }, (_, i) => {
    const x = row(feeds.x, 8, Math.floor(i / 12)), column = i % 12;
    const middle = [0, 1, 2, 3].map((r) => dot(x, row(feeds.down, 8, r)));
    return dot(x, row(feeds.weight, 8, column)) + feeds.bias[column] + 2 * dot(middle, row(feeds.up, 4, column));
  });
  // The other way round: the low-rank part first, the layer added to it.
  const x = input("x", [5, 8]),
    low = linear(linear(x, input("down", [4, 8])), input("up", [12, 4]), null, { scale: 2 });
  const reversed = linear(x, input("weight", [12, 8]), input("bias", [12]), { addend: low });
  const sum = add(adapted().output, input("zero", [5, 12]));
  for (const [name, y] of Object.entries({ output: adapted().output, reversed, sum })) {
    const program = plan({ outputs: { y } }), compiled = await device.compile(program);
    const all: Record<string, ArrayLike<number>> = { ...feeds, zero: new Float32Array(60) };
    compiled.run(Object.fromEntries([...program.inputs.keys()].map((key) => [key, all[key]])));
    const found = (await compiled.read("y")).y;
    ok(expected.every((value, i) => Math.abs(found[i] - value) < 1e-5), name);
    ok(program.steps.some((step) => step.kind === "node" && step.node.op.name === "matmul_pair"), name);
  }
});
