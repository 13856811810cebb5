import { deepEqual, equal, ok, throws } from "node:assert/strict";
import {
  add,
  checkpointed,
  Device,
  elementCount,
  embedding,
  gradients,
  input,
  linear,
  matmul,
  mean,
  multiply,
  plan,
  reshape,
  scale,
  scoped,
  silu,
  square,
  storingActivations,
  subtract,
  sum,
  type Tensor,
  Variable,
  window,
} from "../../engine/mod.ts";
import { difference, numbers } from "./op_check.ts";

async function compute(outputs: Record<string, Tensor>, feeds: Record<string, readonly number[]>) {
  using device = await Device.open();
  const compiled = await device.compile(plan({ outputs }));
  compiled.run(feeds);
  return await compiled.read(...Object.keys(outputs));
}

Deno.test("gradients() of a composed graph match central differences", async () => {
  // mean((silu(x·wᵀ + b) · s − t)²), with w used through a reshape and s broadcast over rows.
  const sizes = { x: [5, 7], w: [21], b: [3], s: [5, 1], t: [5, 3] };
  const values = Object.fromEntries(
    Object.entries(sizes).map(([name, shape], i) => [name, numbers(elementCount(shape), i)]),
  );
  const x = input("x", sizes.x), w = input("w", sizes.w), b = input("b", sizes.b);
  const s = input("s", sizes.s), t = input("t", sizes.t);
  const loss = mean(square(subtract(multiply(silu(linear(x, reshape(w, [3, 7]), b)), s), t)));
  const by = { x, w, b, s, t };
  const found = await compute(
    Object.fromEntries(gradients(loss, Object.values(by)).map((gradient, i) => [Object.keys(by)[i], gradient!])),
    values,
  );
  const lossOf = (v: Record<string, readonly number[]>) => {
    let total = 0;
    for (let row = 0; row < 5; row++) {
      for (let column = 0; column < 3; column++) {
        let z = v.b[column];
        for (let k = 0; k < 7; k++) z += v.x[row * 7 + k] * v.w[column * 7 + k];
        total += (z / (1 + Math.exp(-z)) * v.s[row] - v.t[row * 3 + column]) ** 2;
      }
    }
    return total / 15;
  };
  for (const name of Object.keys(by)) {
    const shifted = (place: number, step: number) =>
      lossOf({ ...values, [name]: values[name].map((v, i) => i === place ? v + step : v) });
    const numeric = values[name].map((_, i) => (shifted(i, 1e-5) - shifted(i, -1e-5)) / 2e-5);
    // f32 against f64: a few roundings in sums of at most 35 terms.
    const off = difference(found[name], numeric);
    ok(off < 1e-5, `gradient by ${name} is off by ${off}`);
  }
});

Deno.test("gradients() sums a broadcast operand's gradient back to its shape", async () => {
  const a = input("a", [2, 3]), row = input("row", [3]), column = input("column", [2, 1]);
  const y = sum(multiply(multiply(a, row), column));
  const [byRow, byColumn] = gradients(y, [row, column]);
  deepEqual(byRow!.shape, [3]);
  deepEqual(byColumn!.shape, [2, 1]);
  const found = await compute({ byRow: byRow!, byColumn: byColumn! }, {
    a: [1, 2, 3, 4, 5, 6],
    row: [1, 10, 100],
    column: [2, 3],
  });
  // ∂/∂row[j] = Σᵢ a[i, j]·column[i],  ∂/∂column[i] = Σⱼ a[i, j]·row[j]
  deepEqual([...found.byRow], [14, 19, 24]);
  deepEqual([...found.byColumn], [321, 654]);
});

Deno.test("gradients() adds up the gradients of a value that is used twice", async () => {
  const x = input("x", [3]);
  // y = x² + 3x, so dy/dx = 2x + 3
  const [byX] = gradients(add(multiply(x, x), scale(x, { factor: 3 })), [x]);
  const found = await compute({ byX: byX! }, { x: [-2, 0, 5] });
  deepEqual([...found.byX], [-1, 3, 13]);
});

Deno.test("gradients() starts from the seed instead of ones", async () => {
  const x = input("x", [3]), seed = input("seed", [3]);
  const [byX] = gradients(square(x), [x], { seed });
  const found = await compute({ byX: byX! }, { x: [1, 2, 3], seed: [1, 0, -2] });
  deepEqual([...found.byX], [2, 0, -12]);
});

Deno.test("gradients() gives the gradient by a value between, too", async () => {
  const x = input("x", [2]), between = square(x);
  const [byBetween, byX] = gradients(scale(between, { factor: 5 }), [between, x]);
  const found = await compute({ byBetween: byBetween!, byX: byX! }, { x: [1, 2] });
  deepEqual([...found.byBetween], [5, 5]);
  deepEqual([...found.byX], [10, 20]);
});

Deno.test("gradients() gives null for tensors that the value does not depend on", () => {
  const x = input("x", [3]), other = input("other", [3]);
  equal(gradients(square(x), [x, other])[1], null);
  equal(gradients(square(x), [square(x)])[0], null, "the same formula traced again is another tensor");
});

Deno.test("gradients() builds nothing for frozen weights", () => {
  const x = input("x", [4, 8]), weight = new Variable("weight", { shape: [16, 8], dtype: "f16" });
  const [byX] = gradients(sum(linear(x, weight.tensor)), [x]);
  const ops = plan({ outputs: { byX: byX! } }).steps.map((step) => step.kind === "node" ? step.node.op.name : "copy");
  // The gradient of a sum is spread out, then goes through the weight; the product itself is not needed.
  equal(ops.filter((name) => name === "matmul").length, 1);
});

Deno.test("gradients() by windows of one variable are those by its parts", async () => {
  const all = new Variable("all", { shape: [128], dtype: "f32" });
  const a = window(all.tensor, 0, [2, 2]), b = window(all.tensor, 64, [2, 2]);
  const [byA, byB] = gradients(sum(matmul(a, b, null, null)), [a, b]);
  using device = await Device.open();
  device.upload(all, Array.from({ length: 128 }, (_, i) => i < 4 ? i + 1 : i >= 64 && i < 68 ? i - 54 : 0));
  const compiled = await device.compile(plan({ outputs: { byA: byA!, byB: byB! } }));
  compiled.run();
  const found = await compiled.read("byA", "byB");
  // a = [[1, 2], [3, 4]], b = [[10, 11], [12, 13]]: 1·bᵀ and aᵀ·1
  deepEqual([...found.byA], [21, 25, 21, 25]);
  deepEqual([...found.byB], [4, 4, 6, 6]);
});

Deno.test("gradients() names the op without a gradient, and its scope", () => {
  const table = new Variable("table", { shape: [10, 4], dtype: "f32" });
  const y = scoped("text", () => scoped("embeddings", () => embedding(table.tensor, input("ids", [3], "i32"))));
  throws(() => gradients(sum(y), [table.tensor]), {
    name: "TypeError",
    message: "Cannot differentiate embedding in text.embeddings: it has no gradient",
  });
});

Deno.test("gradients() refuses a tensor of which only a window was used", () => {
  const all = new Variable("all", { shape: [128], dtype: "f32" });
  throws(() => gradients(sum(square(window(all.tensor, 64, [8]))), [all.tensor]), {
    name: "TypeError",
    message: "Cannot differentiate by a tensor through a window of it: ask for the window's gradient",
  });
});

/** Blocks one behind another, each with a weight of its own. */
function chain(blocks: number) {
  const weights = Array.from({ length: blocks }, (_, i) => new Variable(`w${i}`, { shape: [64, 64], dtype: "f32" }));
  let x = input("x", [64, 64]);
  for (const { tensor } of weights) {
    const before = x;
    x = checkpointed(() => add(before, square(silu(scale(linear(silu(before), tensor), { factor: 0.1 })))));
  }
  return { loss: mean(square(x)), weights };
}

Deno.test("gradients() with checkpointing gives the same bits", async () => {
  const { loss, weights } = chain(4), by = weights.map(({ tensor }) => tensor);
  const named = (found: (Tensor | null)[]) => Object.fromEntries(found.map((gradient, i) => [`w${i}`, gradient!]));
  using device = await Device.open();
  weights.forEach((weight, i) => device.upload(weight, numbers(64 * 64, i)));
  const results = [];
  for (const checkpointing of [false, true]) {
    const compiled = await device.compile(plan({ outputs: named(gradients(loss, by, { checkpointing })) }));
    compiled.run({ x: numbers(64 * 64, 9) });
    results.push(await compiled.read("w0", "w1", "w2", "w3"));
  }
  deepEqual(results[1], results[0]);
  ok(results[0].w0.some((value) => value !== 0));
});

Deno.test("gradients() with checkpointing keeps what lies between blocks, and one block's inside at a time", () => {
  const slots = (blocks: number, checkpointing: boolean) => {
    const { loss, weights } = chain(blocks);
    const [byFirst] = gradients(loss, [weights[0].tensor], { checkpointing });
    return plan({ outputs: { byFirst: byFirst! } }).slots.filter((sizeBytes) => sizeBytes === 4 * 64 * 64).length;
  };
  // A block's gradient reads the block's input and, inside, what the second silu and the square read: with each block more three values are kept,
  // or the input alone. The product's own input would be wanted by its weight, which only the first block trains.
  equal(slots(12, false) - slots(8, false), 4 * 3);
  equal(slots(12, true) - slots(8, true), 4 * 1);
});

Deno.test("gradients() with checkpointing leaves alone what is used outside of its block", async () => {
  // y = (3x)² with 3x also an output: dy/dx = 18x; the value outside is computed once, and again for the gradient.
  const x = input("x", [3]);
  let inside: Tensor | null = null;
  const y = checkpointed(() => square(inside = scale(x, { factor: 3 })));
  const [byX, byInside] = gradients(add(y, inside!), [x, inside!], { checkpointing: true });
  const found = await compute({ byX: byX!, byInside: byInside!, inside: inside! }, { x: [1, 2, -1] });
  deepEqual([...found.inside], [3, 6, -3]);
  deepEqual([...found.byInside], [2 * 3 + 1, 2 * 6 + 1, -2 * 3 + 1]);
  deepEqual([...found.byX], [21, 39, -15]);
});

Deno.test("gradients are f32, also of activations in 16 bits and asked for among them", () => {
  const x = input("x", [8, 16]), weight = input("weight", [16, 16]);
  const [byX, byWeight] = storingActivations("bf16", () => {
    const hidden = linear(x, weight), output = linear(hidden, weight);
    equal(hidden.dtype, "bf16");
    return gradients(sum(output), [hidden, weight]);
  });
  equal(byX!.dtype, "f32");
  equal(byWeight!.dtype, "f32");
});
