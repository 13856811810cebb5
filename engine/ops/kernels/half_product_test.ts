import { deepEqual, equal, ok } from "node:assert/strict";
import type { KernelTarget, WorkgroupTileShape } from "../../graph/kernel.ts";
import { runKernel, testDevice, testValues, toF16 } from "./_test_device.ts";
import { conv2dForward } from "./conv2d.ts";
import { gemm, type GemmOptions, gemmProduct } from "./gemm.ts";
import { productOnGpu } from "./product_on_gpu.ts";
import { chooseWorkgroupTile } from "./workgroup_choice.ts";

const { device, targets } = await testDevice();
const inF32 = targets.find(({ cpu }) => !cpu)!, inF16: KernelTarget = { ...inF32, f16Arithmetic: true };
/** On another driver, see `deno task test:drivers`, there may be no f16. */
const test = device.features.has("shader-f16") ? Deno.test : Deno.test.ignore;
const halves = { dtypeA: "f16", dtypeB: "f16", result: "f16" } as const;

/** A kernel's f16 result. */
async function runHalves(kernel: ReturnType<typeof gemm>, inputs: (Float32Array | Uint16Array)[], count: number) {
  const [words] = await runKernel(device, kernel, inputs, [Math.ceil(count / 2)]);
  return new Float16Array(words.buffer, 0, count);
}

/** Both products by their definition, in f64. */
function expected(options: GemmOptions, a: Float32Array, b: Float32Array, a2?: Float32Array, b2?: Float32Array) {
  const { m, n, k, transposeA, transposeB, scale = 1, second } = options;
  const sum = (a: Float32Array, b: Float32Array, length: number, row: number, column: number) => {
    let sum = 0;
    for (let t = 0; t < length; t++) {
      sum += a[transposeA ? t * m + row : row * length + t] * b[transposeB ? column * length + t : t * n + column];
    }
    return sum;
  };
  return Array.from({ length: m * n }, (_, i) => {
    const row = Math.floor(i / n), column = i % n;
    const low = second ? sum(a2!, b2!, second.k, row, column) * (second.scale ?? 1) : 0;
    return sum(a, b, k, row, column) * scale + low;
  });
}

/** f16's, as the stored results are. */
const rounded = (values: number[]) => new Float16Array(values);

// Eighths: 16 products sum to at most 16, in 64ths, which f16 holds exactly.
test("products in f16 are exact where f16 is, in two layouts, in fours and not", async () => {
  for (const [m, n, k, transposed] of [[20, 36, 12, false], [5, 8, 19, true]] as const) {
    const options = { m, n, k, transposeA: transposed, transposeB: !transposed, scale: 0.5, ...halves };
    const a = testValues(m * k, 1), b = testValues(n * k, 2), kernel = gemm(options, inF16);
    deepEqual(await runHalves(kernel, [toF16(a), toF16(b)], m * n), rounded(expected(options, a, b)));
  }
});

test("products in f16 are exact where f16 is, with eight rows an invocation, and with split sums", async () => {
  const m = 135, n = 72, k = 38, options = { m, n, k, transposeB: true, ...halves };
  const shapes: WorkgroupTileShape[] = [
    { rows: 128, columns: 64, depth: 16, splits: 1, rowsEach: 8 },
    { rows: 64, columns: 64, depth: 16, splits: 2, rowsEach: 8 },
    { rows: 16, columns: 16, depth: 8, splits: 4 },
  ];
  const a = testValues(m * k, 1), b = testValues(n * k, 2), wanted = rounded(expected(options, a, b));
  for (const shape of shapes) {
    const kernel = productOnGpu(gemmProduct(options), inF16, shape);
    deepEqual(await runHalves(kernel, [toF16(a), toF16(b)], m * n), wanted);
  }
});

test("a second product in f32 beside one in f16 keeps what f16 has not", async () => {
  // 2²¹ eighths are beyond f16's range, and 2⁻²⁷ of them below it; their products are 64ths once more.
  const m = 20,
    n = 36,
    k = 24,
    second = { k: 6, scale: 0.5 },
    options = { m, n, k, transposeB: true, second, ...halves };
  const a = testValues(m * k, 1), b = testValues(n * k, 2);
  const a2 = testValues(m * 6, 3).map((value) => value * 2 ** 21), b2 = testValues(n * 6, 4).map((v) => v * 2 ** -21);
  const found = await runHalves(gemm(options, inF16), [toF16(a), toF16(b), a2, b2], m * n);
  deepEqual(found, rounded(expected(options, a, b, a2, b2)));
});

test("a convolution in f16 is exact where f16 is", async () => {
  const shape = { batch: 1, height: 5, width: 7, inChannels: 16, outChannels: 8, kernelHeight: 3, kernelWidth: 3 };
  const kernel = conv2dForward({
    ...shape,
    stride: 1,
    padding: { top: 1, left: 1, bottom: 1, right: 1 },
    dtypeX: "f16",
    dtypeWeight: "f16",
    result: "f16",
  }, inF16);
  const x = testValues(5 * 7 * 16, 1), weight = testValues(9 * 16 * 8, 2);
  const wanted = Array.from({ length: 5 * 7 * 8 }, (_, i) => {
    const channel = i % 8, column = Math.floor(i / 8) % 7, row = Math.floor(i / 56);
    let sum = 0;
    for (let tap = 0; tap < 9; tap++) {
      const y = row + Math.floor(tap / 3) - 1, across = column + tap % 3 - 1;
      if (y < 0 || y >= 5 || across < 0 || across >= 7) continue;
      for (let c = 0; c < 16; c++) sum += x[(y * 7 + across) * 16 + c] * weight[(tap * 16 + c) * 8 + channel];
    }
    return sum;
  });
  deepEqual(await runHalves(kernel, [toF16(x), toF16(weight)], wanted.length), rounded(wanted));
});

/** Numbers of f16 in (-1, 1) whose products are none. */
function unevenHalves(count: number, seed: number): Float32Array<ArrayBuffer> {
  return new Float32Array(Float16Array.from({ length: count }, (_, i) => 10000 * Math.sin((i + 1) * (seed + 0.7)) % 1));
}

test("products in f16 are off by the roundings of 16 steps at most, however long their sum", async () => {
  const m = 32, n = 32, options = { m, n, k: 1024, transposeB: true, ...halves };
  const a = unevenHalves(m * 1024, 1), b = unevenHalves(n * 1024, 2), inputs = [toF16(a), toF16(b)];
  const found = await runHalves(gemm(options, inF16), inputs, m * n);
  const exact = expected(options, a, b), sizes = expected(options, a.map(Math.abs), b.map(Math.abs));
  // Each of 16 products is rounded once itself, where the driver rounds before it adds, and with up to 16 sums that it is part of: (1 + u)¹⁷ − 1 of the sizes.
  // Below 2⁻¹⁴ a rounding is off by 2⁻²⁵ instead. The blocks' sums are rounded in f32, and the result once more in f16.
  const u = 2 ** -11;
  const limit = (i: number) =>
    ((1 + u) ** 17 - 1 + 70 * 2 ** -24) * sizes[i] + 2 * 1024 * 2 ** -25 + u * Math.abs(exact[i]);
  for (const [i, value] of exact.entries()) {
    ok(Math.abs(found[i] - value) <= limit(i), `element ${i} is ${found[i]}, not ${value}`);
  }
  // Roundings are as often up as down. With products of size 1, step i is off by 0.41 u √i: 16 steps by 0.29 · 16 u, all blocks by 0.29 · √(16 k) u, where the
  // sum is about √k: 1.2 u, and a little for products and result. A sum in f16 from end to end would be off by 9 u.
  const norm = (values: number[]) => Math.hypot(...values);
  const error = norm(exact.map((value, i) => found[i] - value)) / (u * norm(exact));
  // The result's rounding alone, as with sums in f32, is 0.58 u at most.
  ok(error > 0.6 && error <= 2, `${error} u`);
});

test("a sum of 16 products in f16 beyond f16's range is not finite", async () => {
  const m = 4, n = 4, k = 16, options = { m, n, k, transposeB: true, ...halves };
  const a = new Float32Array(m * k).fill(100), b = new Float32Array(n * k).fill(100), inputs = [toF16(a), toF16(b)];
  deepEqual([...await runHalves(gemm(options, inF16), inputs, 16)], Array(16).fill(Infinity));
});

test("tiles of products in f16 have eight rows an invocation where there are many, and fit the card's workgroup memory", () => {
  // For 2048³ an invocation's 64 sums of 16 steps are 512 multiplications of two and 128 instructions to add them up, 64 reads, and loads, 40 instructions each:
  // 4 with 128 × 128, 864 in all, 6 with 128 × 64, 944. Of 64 processors 89 and 94 % are busy: 971 against 1,003.
  const sizes = { rows: 2048, columns: 2048, sum: 2048, batch: 1 };
  const card = { ...inF16, maxWorkgroupStorageBytes: 49152 };
  const chosen = chooseWorkgroupTile({ ...sizes, arithmetics: ["f16"] }, card);
  deepEqual(chosen, { rows: 128, columns: 128, depth: 16, splits: 1, parts: 1, rowsEach: 8 });
  const second = { k: 64 }, options = { m: 2048, n: 2048, k: 2048, transposeB: true, second, ...halves };
  const { wgsl } = gemm(options, { ...inF16, maxWorkgroupStorageBytes: 16384 });
  const memories = [...wgsl.matchAll(/var<workgroup> \w+: array<(vec4f|vec4<f16>), (\d+)>;/g)];
  equal(memories.length, 2);
  const bytes = memories.reduce((sum, [, type, count]) => sum + Number(count) * (type === "vec4f" ? 16 : 8), 0);
  ok(bytes <= 16384, `${bytes}`);
});

test("a product stays in f32 where an operand or the result does, and on CPUs", () => {
  const sizes = { m: 64, n: 64, k: 64, transposeB: true };
  const others: Partial<GemmOptions>[] = [{ dtypeA: "f32" }, { dtypeB: "q8" }, { dtypeB: "bf16" }, { result: "f32" }];
  for (const other of others) {
    const options = { ...sizes, ...halves, ...other };
    deepEqual(gemm(options, inF16), gemm(options, inF32));
  }
  ok(gemm({ ...sizes, ...halves }, inF16).wgsl.includes("vec4<f16>()"));
  const cpu = { ...inF32, cpu: true, subgroupSize: 8 };
  equal(gemm({ ...sizes, ...halves }, { ...cpu, f16Arithmetic: true }).wgsl, gemm({ ...sizes, ...halves }, cpu).wgsl);
});
