import { deepEqual, equal, match, ok } from "node:assert/strict";
import { type DualStep, dualStepKey, dualStepProgram, dualSteps } from "../../bench/dual_step.ts";
import { countOperations } from "../../bench/operations.ts";
import { type Line, lineText } from "../../bench/line.ts";
import { inputsOf, type Op, readOps, uniform } from "../../bench/op_list.ts";
import { measureOp } from "../../bench/ops.ts";
import { measureLoading } from "../../bench/loading.ts";
import { measureSampling, samplings } from "../../bench/sampling.ts";
import { input, linear, plan } from "../../engine/mod.ts";
import { toyBase } from "../models/checkpoint_files.ts";

const once = { seconds: 0.001 };
const product: Op = { op: "matmul", shape: "5x3x7", dims: [5, 3, 7] };
const layer: Op = { op: "linear", shape: "3x2->4", dims: [3, 2, 4] };

/** Mean absolute value of `a·b`, or of `a·bᵀ`, for `a` `[m, k]`. */
function meanOfProduct(a: Float32Array, b: Float32Array, [m, n, k]: readonly number[], transposed = false): number {
  let total = 0;
  for (let row = 0; row < m; row++) {
    for (let column = 0; column < n; column++) {
      let sum = 0;
      for (let i = 0; i < k; i++) sum += a[row * k + i] * b[transposed ? column * k + i : i * n + column];
      total += Math.abs(sum);
    }
  }
  return total / (m * n);
}

function closeCheck(line: Line, expected: number): void {
  equal(line.skipped, undefined);
  ok(Math.abs(line.check as number - expected) <= 1e-5 * expected, `check is ${line.check}, expected ${expected}`);
}

Deno.test("uniform() is murmur3's finalizer of seed and index", () => {
  const scaled = (hash: number) => (hash >>> 8) / 2 ** 23 - 1;
  equal(uniform(1, 0)[0], -1);
  // The finalizer of 1, and of 1 + 0x9E3779B9 in arbitrary-precision arithmetic.
  deepEqual([...uniform(2, 1)], [scaled(0x514e28b7), scaled(0x96a0f96b)]);
});

Deno.test("a line has all fields in their order", async () => {
  const line = await measureOp(product, "forward", once);
  deepEqual(Object.keys(JSON.parse(lineText(line))), [
    ...["peer", "op", "shape", "pass", "dtype"],
    ...["ms_median", "ms_min", "cpu_ms", "runs", "batch", "gflops", "check"],
    ...["adapter", "version"],
  ]);
  const { peer, op, shape, pass, dtype, version } = line;
  deepEqual([peer, op, shape, pass, dtype], ["dualora", "matmul", "5x3x7", "forward", "f32"]);
  match(version as string, /^dualora \d+\.\d+\.\d+, deno \d/);
});

Deno.test("a line's check is the mean absolute value of the output, or of the gradient by the first input", async () => {
  const [a, b, dc] = inputsOf(product, "forward+gradient").map(({ data }) => data);
  closeCheck(await measureOp(product, "forward", once), meanOfProduct(a, b, [5, 3, 7]));
  // dA = dC·Bᵀ
  closeCheck(await measureOp(product, "forward+gradient", once), meanOfProduct(dc, b, [5, 7, 3], true));
});

Deno.test("linear takes its weight as [in, out]", async () => {
  const [x, weight, dy] = inputsOf(layer, "forward+gradient").map(({ data }) => data);
  closeCheck(await measureOp(layer, "forward", once), meanOfProduct(x, weight, [3, 4, 2]));
  closeCheck(await measureOp(layer, "forward+gradient", once), meanOfProduct(dy, weight, [3, 2, 4], true));
});

Deno.test("an op whose result no adapter can bind is skipped, with the reason", async () => {
  const line = await measureOp({ ...product, shape: "65536x65536x1", dims: [65536, 65536, 1] }, "forward", once);
  match(
    line.skipped as string,
    /^RangeError: Cannot run matmul: its result, .* takes 17179869184 bytes, .* binds at most /,
  );
  ok(!("ms_median" in line) && "adapter" in line);
});

Deno.test("every op of the list names its sizes", async () => {
  for (const { op, shape, dims } of await readOps()) {
    deepEqual(shape.match(/\d+/g)!.map(Number), dims, op);
  }
});

Deno.test("countOperations() counts two for each multiply-add", () => {
  const x = input("x", [3, 2]), layer = linear(x, input("weight", [4, 2]));
  equal(countOperations(plan({ outputs: { y: layer } })), 2 * 3 * 2 * 4);
  // With a low-rank part of rank 1: two products more, one of them in the layer's own dispatch.
  const adapted = linear(linear(x, input("down", [1, 2])), input("up", [4, 1]), null, { addend: layer });
  const program = plan({ outputs: { y: adapted } });
  equal(program.steps.length, 2);
  equal(countOperations(program), 2 * 3 * (2 * 4 + 2 * 1 + 1 * 4));
});

const toyStep: DualStep = { base: "toy", pixels: 128, rank: 16, batches: [1, 1], mode: "both", precision: "f32" };

Deno.test("no two dual steps have one key, and the key says how many pictures each network has", () => {
  const shapes = dualSteps.map((step) => dualStepKey(step).shape);
  equal(new Set(shapes).size, shapes.length);
  equal(dualStepKey(toyStep).shape, "toy 128px batch1 rank16 both");
  equal(dualStepKey({ ...toyStep, batches: [1, 4] }).shape, "toy 128px batch1+4 rank16 both");
});

Deno.test("a dual step of unequal batches has about the operations of each network's pictures", async () => {
  const operations = async (batches: [number, number]) =>
    countOperations(await dualStepProgram({ ...toyStep, batches }));
  const one = await operations([1, 1]), unequal = await operations([1, 4]);
  // The orthogonality terms take pairs of pictures, and are small.
  ok(Math.abs(unequal / one - 2.5) < 0.1, `${unequal / one}`);
});

Deno.test("the dual step has about the operations that PyTorch's has, and fewer with network 1 frozen", async () => {
  const [both, frozen] = await Promise.all(
    (["both", "frozen"] as const).map((mode) => dualStepProgram({ ...toyStep, mode })),
  );
  // Counted with hooks on PyTorch's layers: 1.8e9; that leaves the text encoder's attention out, some 0.1e9.
  const operations = countOperations(both);
  ok(Math.abs(operations - 1.85e9) < 0.1e9, `${operations} operations`);
  ok(countOperations(frozen) < operations);
  ok(frozen.peakBytes < both.peakBytes);
});

Deno.test("measureLoading() counts the base's weights once, and the host's memory without them", async () => {
  const heard: number[] = [];
  const figures = await measureLoading(toyBase, { precision: "f32", onBytes: (done) => heard.push(done) });
  // The toy's text encoder and UNet have 4,071,588 numbers.
  equal(figures.weightBytes, 4 * 4_071_588);
  equal(heard.at(-1), figures.weightBytes);
  ok(figures.seconds > 0 && figures.cpuSeconds > 0);
  ok(figures.peakHostBytes > figures.startHostBytes / 2 && figures.peakHostBytes < 1.5e9, `${figures.peakHostBytes}`);
});

Deno.test("a sampling line has the time of one of its 20 steps, and a picture behind it", async () => {
  const line = await measureSampling(samplings[0], once);
  equal(line.skipped, undefined);
  equal(line.shape, "toy 128px ddim 20 steps batch1");
  equal(20 * (line.ms_per_step as number), line.ms_median);
  ok((line.check as number) > 10 && (line.check as number) < 245, `mean ${line.check}`);
});
