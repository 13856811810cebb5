import { deepEqual, equal, ok } from "node:assert/strict";
import { fromQ8, toQ8 } from "../../graph/q8.ts";
import type { WorkgroupTileShape } from "../../graph/kernel.ts";
import { runKernel, testDevice, testValues, toF16 } from "./_test_device.ts";
import { gemm, type GemmOptions, gemmProduct } from "./gemm.ts";
import { productOnCpu, tileSizes } from "./product_on_cpu.ts";
import { productOnGpu } from "./product_on_gpu.ts";
import { registerTileChoices } from "./register_plan.ts";
import { chooseWorkgroupTile, tilesByCounts } from "./workgroup_choice.ts";

const { device, targets } = await testDevice();

/** The product by its definition. */
function reference(options: GemmOptions, a: Float32Array, b: Float32Array, bias?: Float32Array, addend?: Float32Array) {
  const { batch = 1, m, n, k, transposeA, transposeB, sharedA, sharedB, scale = 1 } = options;
  return Float32Array.from({ length: batch * m * n }, (_, i) => {
    const column = i % n, row = Math.floor(i / n) % m, matrix = Math.floor(i / (m * n));
    const startA = sharedA ? 0 : matrix * m * k, startB = sharedB ? 0 : matrix * n * k;
    let sum = 0;
    for (let t = 0; t < k; t++) {
      sum += a[startA + (transposeA ? t * m + row : row * k + t)] *
        b[startB + (transposeB ? column * k + t : t * n + column)];
    }
    return sum * scale + (bias?.[column] ?? 0) + (addend?.[i] ?? 0);
  });
}

/** Two products in one kernel, against the sum of both by definition. */
async function checkPair(
  { m, n, k, bias, addend, ...options }: GemmOptions,
  second: NonNullable<GemmOptions["second"]>,
  { gpu = false } = {},
) {
  const a = testValues(m * k, 1),
    b = testValues(n * k, 2),
    a2 = testValues(m * second.k, 5),
    b2 = testValues(n * second.k, 6);
  const biases = bias ? testValues(n, 3) : undefined, addends = addend ? testValues(m * n, 4) : undefined;
  const one = reference({ m, n, k, ...options }, a, b, biases, addends);
  const two = reference({ ...options, m, n, k: second.k, scale: second.scale ?? 1 }, a2, b2);
  const inputs = [a, options.dtypeB === "f16" ? toF16(b) : b];
  if (biases) inputs.push(biases);
  if (addends) inputs.push(addends);
  inputs.push(a2, b2);
  for (const target of targets.filter(({ cpu }) => cpu || gpu)) {
    const kernel = gemm({ m, n, k, bias, addend, ...options, second }, target);
    const [result] = await runKernel(device, kernel, inputs, [m * n]);
    const wrong = result.findIndex((value, i) =>
      !(Math.abs(value - one[i] - two[i]) <= 1e-5 * (1 + (k + second.k) / 16))
    );
    ok(wrong < 0, `cpu ${target.cpu}: element ${wrong} is ${result[wrong]}, not ${one[wrong] + two[wrong]}`);
  }
}

/** The kernels for GPUs compile slowly on a CPU adapter, so only some cases run them. */
async function check(options: GemmOptions, { gpu = false } = {}) {
  const { batch = 1, m, n, k, sharedA, sharedB, dtypeA, dtypeB } = options;
  const a = testValues((sharedA ? 1 : batch) * m * k, 1), drawn = testValues((sharedB ? 1 : batch) * n * k, 2);
  const words = dtypeB === "q8" ? toQ8(drawn) : null, b = words ? fromQ8(words) : drawn;
  const bias = options.bias ? testValues(n, 3) : undefined,
    addend = options.addend ? testValues(batch * m * n, 4) : undefined;
  const expected = reference(options, a, b, bias, addend);
  const inputs = [
    dtypeA === "f16" ? toF16(a) : a,
    words ? new Float32Array(words.buffer) : dtypeB === "f16" ? toF16(b) : b,
  ];
  if (bias) inputs.push(options.bias === "f16" ? toF16(bias) : bias);
  if (addend) inputs.push(options.addend === "f16" ? toF16(addend) : addend);
  for (const target of targets.filter(({ cpu }) => cpu || gpu)) {
    const [result] = await runKernel(device, gemm(options, target), inputs, [expected.length]);
    const wrong = result.findIndex((value, i) => !(Math.abs(value - expected[i]) <= 1e-5 * (1 + k / 16)));
    ok(
      wrong < 0,
      `${JSON.stringify(options)} cpu ${target.cpu}: element ${wrong} is ${result[wrong]}, not ${expected[wrong]}`,
    );
  }
}

const layouts = [[false, false], [false, true], [true, false], [true, true]];
const sizes = [[1, 1, 1], [3, 7, 5], [33, 77, 7], [64, 32, 32], [20, 36, 12], [8, 4, 300], [128, 4, 32], [128, 48, 4]];

for (const [m, n, k] of sizes) {
  Deno.test(`gemm() of ${m} × ${n} × ${k} agrees with its definition in all four layouts`, async () => {
    for (const [transposeA, transposeB] of layouts) await check({ m, n, k, transposeA, transposeB });
  });
}

Deno.test("gemm() for GPUs agrees with its definition, in fours and not", async () => {
  await check({ m: 33, n: 77, k: 7 }, { gpu: true });
  await check({ m: 5, n: 6, k: 19, transposeA: true, transposeB: true }, { gpu: true });
  await check({ m: 20, n: 36, k: 12, transposeB: true }, { gpu: true });
  await check({ m: 20, n: 36, k: 12, transposeA: true }, { gpu: true });
});

/** What a GPU's kernel of this tile gives. */
async function onGpu(
  options: GemmOptions,
  shape: WorkgroupTileShape,
  inputs: readonly (Float32Array | Uint16Array)[],
  count: number,
): Promise<Float32Array> {
  const [gpu] = targets.filter(({ cpu }) => !cpu), kernel = productOnGpu(gemmProduct(options), gpu, shape);
  equal(kernel.finish !== undefined, (shape.parts ?? 1) > 1);
  return (await runKernel(device, kernel, inputs, [count]))[0];
}

Deno.test("gemm() for GPUs agrees with its definition in tiles of 128 rows, with a split sum, and with parts of it", async () => {
  const shapes = [
    { rows: 128, columns: 64, depth: 16, splits: 1 },
    { rows: 16, columns: 16, depth: 16, splits: 4 },
    // Sums of 5 parts of 8 steps, of which the last has 6; of 3 parts of 2 of 8 steps: 10 are beyond the sum.
    { rows: 32, columns: 32, depth: 8, splits: 1, parts: 5 },
    { rows: 16, columns: 16, depth: 8, splits: 2, parts: 3 },
  ];
  const m = 135, n = 72, k = 38, a = testValues(m * k, 1), b = testValues(n * k, 2);
  const options = { m, n, k, transposeB: true }, expected = reference(options, a, b);
  // Eighths: all sums are exact.
  for (const shape of shapes) deepEqual(await onGpu(options, shape, [a, b], m * n), expected);
});

Deno.test("gemm() for GPUs stores whole vectors in workgroup memory, in all four layouts", () => {
  // A store to a component may write the vector: WGSL, "Component Reference from Vector Memory View".
  for (const [transposeA, transposeB] of layouts) {
    for (const [m, n, k] of [[4096, 512, 64], [16, 16, 4096], [128, 32, 64]]) {
      const { wgsl } = gemm({ m, n, k, transposeA, transposeB }, card);
      const stored = [...wgsl.matchAll(/^ *(tile\[.*\S) = /gm)].map(([, place]) => place);
      ok(stored.length > 0 && !stored.some((place) => /\]\[|\]\.[xyzw]/.test(place)), stored.join("\n"));
    }
  }
});

const inParts = { rows: 16, columns: 16, depth: 8, splits: 1, parts: 3 };

Deno.test("gemm() for GPUs adds bias, addend and a second product to the sum of all parts, once", async () => {
  // The sum of 20 steps and, from the 21st on, of 14 more: parts of 16, of which the second has steps of both and the third is half empty.
  const m = 18, n = 20, k = 19, second = { k: 14, scale: 2 };
  const a = testValues(m * k, 1), b = testValues(n * k, 2), bias = testValues(n, 3), addend = testValues(m * n, 4);
  const a2 = testValues(m * second.k, 5), b2 = testValues(n * second.k, 6);
  const options: GemmOptions = { m, n, k, scale: 0.5, transposeB: true, bias: "f32", addend: "f16" };
  const one = reference(options, a, b, bias, addend);
  const two = reference({ m, n, k: second.k, scale: second.scale, transposeB: true }, a2, b2);
  // Eighths: all sums are exact.
  deepEqual(
    await onGpu({ ...options, second }, inParts, [a, b, bias, toF16(addend), a2, b2], m * n),
    one.map((value, i) => value + two[i]),
  );
});

Deno.test("gemm() for GPUs adds the parts of each matrix of a batch, at sizes that no four-vector fits", async () => {
  const options: GemmOptions = { batch: 2, m: 5, n: 7, k: 33, transposeA: true, addend: "f32" };
  const a = testValues(2 * 5 * 33, 1), b = testValues(2 * 7 * 33, 2), addend = testValues(2 * 5 * 7, 4);
  deepEqual(
    await onGpu(options, inParts, [a, b, addend], 2 * 5 * 7),
    reference(options, a, b, undefined, addend),
  );
});

Deno.test("gemm() for GPUs reads 16 and 8 bits and stores 16 with parts of the sum", async () => {
  const options: GemmOptions = { m: 9, n: 32, k: 40, dtypeA: "f16", dtypeB: "q8", result: "f16" };
  const a = testValues(9 * 40, 1), words = toQ8(testValues(32 * 40, 2));
  const found = await onGpu(options, inParts, [toF16(a), new Float32Array(words.buffer)], 9 * 32 / 2);
  const expected = reference(options, a, fromQ8(words));
  for (const [i, value] of new Float16Array(found.buffer).entries()) {
    // Half a unit in the last place of f16, and what f32 has rounded.
    ok(Math.abs(value - expected[i]) <= 2 ** -11 * Math.abs(expected[i]) + 1e-4, `${i}: ${value}, not ${expected[i]}`);
  }
});

const card = {
  cpu: false,
  subgroupSize: 32,
  f16: true,
  maxInvocations: 1024,
  maxWorkgroupStorageBytes: 49152,
  maxWorkgroupsPerDimension: 65535,
  maxStorageBuffers: 8,
};

function tileOf(rows: number, columns: number, sum: number) {
  const { depth: _, rowsEach: __, ...shape } = chooseWorkgroupTile({ rows, columns, sum, batch: 1 }, card);
  return shape;
}

// Rows, columns and sum of the 3×3 convolutions of SD v1.5's four levels at 512 pixels.
const levels = [[4096, 320, 2880], [1024, 640, 5760], [256, 1280, 11520], [64, 1280, 11520]] as const;

Deno.test("a GPU's tiles are large where there are many, and the sum is taken apart where there are few", () => {
  deepEqual(tileOf(2048, 2048, 2048), { rows: 128, columns: 64, splits: 1, parts: 1 });
  deepEqual(levels.map(([rows, columns, sum]) => tileOf(rows, columns, sum)), [
    { rows: 64, columns: 64, splits: 1, parts: 1 },
    { rows: 128, columns: 64, splits: 1, parts: 4 },
    { rows: 128, columns: 64, splits: 1, parts: 8 },
    { rows: 64, columns: 64, splits: 1, parts: 12 },
  ]);
  // A second dispatch takes longer than the product.
  deepEqual(tileOf(64, 320, 1280), { rows: 16, columns: 16, splits: 8, parts: 1 });
  // Nothing to split, and nothing to fill.
  deepEqual(tileOf(16, 16, 8), { rows: 16, columns: 16, splits: 1, parts: 1 });
});

Deno.test("a GPU takes the tile that its target says, and lists others with the one by counts first", () => {
  const sizes = { rows: 256, columns: 1280, sum: 11520, batch: 1 },
    tile = { rows: 16, columns: 16, depth: 8, splits: 2 };
  deepEqual(chooseWorkgroupTile(sizes, { ...card, tile }), tile);
  const listed = tilesByCounts(sizes, card);
  deepEqual(listed[0], chooseWorkgroupTile(sizes, card));
  deepEqual(tilesByCounts(sizes, card, 3), listed.slice(0, 3));
  // Eight tiles with 1, 2, 3, 4, 6, 8 or 12 parts: 16 MiB of scratch memory hold twelve of 1.25 MiB.
  equal(new Set(listed.map((each) => JSON.stringify(each))).size, 56);
});

Deno.test("a GPU's tiles of SD v1.5's convolutions keep 87 % of 28 to 132 processors busy on average", () => {
  for (const [rows, columns, sum] of levels) {
    const tile = tileOf(rows, columns, sum);
    const groups = Math.ceil(rows / tile.rows) * Math.ceil(columns / tile.columns) * tile.parts!;
    const busy = Array.from({ length: 105 }, (_, i) => i + 28).map((count) =>
      groups / (Math.ceil(groups / count) * count)
    );
    const mean = busy.reduce((total, each) => total + each, 0) / busy.length;
    // Without parts three of the levels have 160 and 80 workgroups: 0.83 and 0.75.
    ok(mean > 0.87, `${rows} × ${columns}: ${groups} workgroups keep ${mean} of the processors busy`);
    ok(rows * columns * tile.parts! * 4 <= 2 ** 24, "sums of parts fit scratch memory");
  }
});

Deno.test("gemm() adds bias and addend after scaling", async () => {
  await check({ m: 12, n: 20, k: 8, bias: "f32", addend: "f32", scale: 0.5 }, { gpu: true });
  await check({ m: 5, n: 7, k: 9, bias: "f16", addend: "f16", scale: -2 });
  await check({ m: 128, n: 4, k: 32, transposeB: true, bias: "f32", addend: "f32" });
});

Deno.test("gemm() widens f16 operands", async () => {
  for (const [transposeA, transposeB] of layouts) {
    await check({ m: 17, n: 40, k: 24, transposeA, transposeB, dtypeB: "f16", bias: "f16" });
  }
  await check({ m: 6, n: 5, k: 7, dtypeA: "f16", dtypeB: "f16" }, { gpu: true });
});

Deno.test("gemm() reads 8-bit weights, in fours and not", async () => {
  for (const [transposeA, transposeB] of layouts) {
    await check({ m: 17, n: 40, k: 24, transposeA, transposeB, dtypeB: "q8", bias: "f16" }, {
      gpu: !transposeA && transposeB,
    });
  }
  await check({ m: 6, n: 32, k: 7, dtypeB: "q8" });
  await check({ m: 6, n: 32, k: 7, dtypeB: "q8", transposeB: true });
});

Deno.test("gemm() runs a batch, with one operand for each product or one for all", async () => {
  await check({ batch: 3, m: 9, n: 12, k: 8, transposeB: true }, { gpu: true });
  await check({ batch: 2, m: 16, n: 8, k: 5, sharedB: true, bias: "f32", addend: "f32" });
  await check({ batch: 2, m: 8, n: 8, k: 12, sharedA: true, transposeA: true });
});

Deno.test("gemm() sums long thin products, as LoRA's weight gradients are", async () => {
  await check({ m: 4, n: 32, k: 1024, transposeA: true }, { gpu: true });
  await check({ m: 64, n: 16, k: 1030, transposeA: true });
});

Deno.test("gemm() adds a second product with its own scale and length of sum", async () => {
  for (const [m, n, k, k2] of [[20, 36, 12, 4], [33, 7, 10, 3], [128, 48, 32, 16], [5, 64, 9, 8]]) {
    for (const [transposeA, transposeB] of layouts) {
      await checkPair({ m, n, k, transposeA, transposeB, bias: "f32" }, { k: k2, scale: 0.5 });
    }
  }
  await checkPair({ m: 20, n: 36, k: 12, transposeB: true, dtypeB: "f16", addend: "f32" }, { k: 4, scale: 2 });
  await checkPair({ m: 12, n: 8, k: 4, scale: 0.25 }, { k: 32 });
  // Tiles of all shapes: many rows, many columns, four columns a lane.
  for (const [m, n] of [[1, 1280], [2, 320], [64, 640], [640, 64], [16, 96], [96, 16]]) {
    for (const [transposeA, transposeB] of layouts) {
      await checkPair({ m, n, k: 64, transposeA, transposeB }, { k: 8, scale: 0.5 });
    }
  }
});

Deno.test("gemm() for GPUs adds a second product", async () => {
  await checkPair({ m: 20, n: 36, k: 10, transposeB: true, bias: "f32" }, { k: 3, scale: 0.5 }, { gpu: true });
  await checkPair({ m: 5, n: 6, k: 19, addend: "f32" }, { k: 20, scale: 2 }, { gpu: true });
});

Deno.test("gemm() gives the same bits with tiles of all kinds of a CPU adapter", async () => {
  const m = 34, n = 36, k = 23, inputs = [unevenValues(m * k, 1), unevenValues(n * k, 2)];
  for (const target of targets.filter(({ cpu }) => cpu)) {
    const product = gemmProduct({ m, n, k, transposeB: true });
    const choices = [...registerTileChoices(tileSizes(product, target.subgroupSize))];
    // Tiles with more rows are the same text, longer: one stands for all.
    const tried = choices.filter(({ rows }) => rows === 8).concat(choices.find(({ rows }) => rows === 32)!);
    const results = [];
    for (const choice of tried) {
      const [result] = await runKernel(device, productOnCpu(product, target, choice), inputs, [m * n]);
      results.push(new Uint32Array(result.buffer));
    }
    ok(results.length > 6);
    for (const result of results) deepEqual(result, results[0]);
  }
});

/** Numbers in (-1, 1) whose products are rounded in f32. */
function unevenValues(count: number, seed: number): Float32Array<ArrayBuffer> {
  return Float32Array.from({ length: count }, (_, i) => Math.sin((i + 1) * (seed + 0.7)));
}
