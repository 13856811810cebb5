import { deepEqual, equal, ok } from "node:assert/strict";
import type { KernelTarget } from "../../graph/kernel.ts";
import { runKernel, testDevice, testValues } from "./_test_device.ts";
import {
  attentionDelta,
  attentionForward,
  attentionKeyValueGradient,
  attentionQueryGradient,
  type AttentionShape,
} from "./attention.ts";

const { device, targets } = await testDevice();

/** Output, log-sum-exp and gradients by the definition: softmax and its Jacobian for each query. */
function reference(shape: AttentionShape, q: Float32Array, k: Float32Array, v: Float32Array, dy: Float32Array) {
  const { batch, heads, queries, keys, size, causal, scale = 1 / Math.sqrt(size) } = shape;
  const o = new Float64Array(q.length), lse = new Float64Array(batch * heads * queries), delta = lse.slice();
  const dq = new Float64Array(q.length), dk = new Float64Array(k.length), dv = new Float64Array(k.length);
  for (let picture = 0; picture < batch; picture++) {
    for (let head = 0; head < heads; head++) {
      for (let query = 0; query < queries; query++) {
        const mine = ((picture * queries + query) * heads + head) * size;
        const other = (key: number) => ((picture * keys + key) * heads + head) * size;
        const count = causal ? Math.min(keys, query + 1) : keys;
        const dot = (x: Float32Array, from: number, y: Float32Array, to: number) => {
          let sum = 0;
          for (let e = 0; e < size; e++) sum += x[from + e] * y[to + e];
          return sum;
        };
        const scores = Array.from({ length: count }, (_, key) => dot(q, mine, k, other(key)) * scale);
        const most = Math.max(...scores), total = scores.reduce((sum, score) => sum + Math.exp(score - most), 0);
        const p = scores.map((score) => Math.exp(score - most) / total);
        const dp = p.map((_, key) => dot(dy, mine, v, other(key)));
        const mean = p.reduce((sum, weight, key) => sum + weight * dp[key], 0);
        lse[(picture * heads + head) * queries + query] = most + Math.log(total);
        delta[(picture * heads + head) * queries + query] = mean;
        for (let key = 0; key < count; key++) {
          const slope = p[key] * (dp[key] - mean) * scale;
          for (let e = 0; e < size; e++) {
            o[mine + e] += p[key] * v[other(key) + e];
            dq[mine + e] += slope * k[other(key) + e];
            dk[other(key) + e] += slope * q[mine + e];
            dv[other(key) + e] += p[key] * dy[mine + e];
          }
        }
      }
    }
  }
  return { o, lse, delta, dq, dk, dv };
}

function close(result: Float32Array, expected: Float64Array, what: string) {
  const wrong = result.findIndex((value, i) => !(Math.abs(value - expected[i]) <= 2e-5 * (1 + Math.abs(expected[i]))));
  ok(wrong < 0, `${what}: element ${wrong} is ${result[wrong]}, not ${expected[wrong]}`);
}

/** Inputs by rule, and what the definition makes of them. */
function givenFor(shape: AttentionShape) {
  const { batch, heads, queries, keys, size } = shape;
  const q = testValues(batch * queries * heads * size, 1).map((value) => value * 2);
  const k = testValues(batch * keys * heads * size, 2).map((value) => value * 2);
  const v = testValues(k.length, 3), dy = testValues(q.length, 4);
  return { q, k, v, dy, expected: reference(shape, q, k, v, dy) };
}

async function checkForward(
  shape: AttentionShape,
  target: KernelTarget,
  { q, k, v, expected }: ReturnType<typeof givenFor>,
) {
  const what = (name: string) => `${name} of ${JSON.stringify(shape)}, cpu ${target.cpu}`;
  const found = await runKernel(device, attentionForward(shape, target), [q, k, v], [q.length, expected.lse.length]);
  close(found[0], expected.o, what("o"));
  close(found[1], expected.lse, what("lse"));
}

/** The kernels for GPUs compile slowly on a CPU adapter, so only some cases run them. */
async function check(shape: AttentionShape, gpu: boolean) {
  const given = givenFor(shape), { q, k, v, dy, expected } = given;
  const o = Float32Array.from(expected.o),
    lse = Float32Array.from(expected.lse),
    delta = Float32Array.from(expected.delta);
  for (const target of targets.filter(({ cpu }) => cpu || gpu)) {
    const what = (name: string) => `${name} of ${JSON.stringify(shape)}, cpu ${target.cpu}`;
    await checkForward(shape, target, given);
    const [sums] = await runKernel(device, attentionDelta(shape, target), [dy, o], [lse.length]);
    close(sums, expected.delta, what("delta"));
    const inputs = [q, k, v, dy, lse, delta];
    const [dq] = await runKernel(device, attentionQueryGradient(shape, target), inputs, [q.length]);
    close(dq, expected.dq, what("dq"));
    const back = await runKernel(device, attentionKeyValueGradient(shape, target), inputs, [k.length, k.length]);
    close(back[0], expected.dk, what("dk"));
    close(back[1], expected.dv, what("dv"));
  }
}

const cases: AttentionShape[] = [
  { batch: 2, heads: 3, queries: 20, keys: 20, size: 8 },
  { batch: 1, heads: 2, queries: 19, keys: 7, size: 10 },
  { batch: 2, heads: 2, queries: 1, keys: 77, size: 12 },
  { batch: 1, heads: 2, queries: 17, keys: 17, size: 16, causal: true },
  { batch: 1, heads: 1, queries: 64, keys: 3, size: 24 },
  { batch: 1, heads: 2, queries: 9, keys: 13, size: 80, scale: 0.25 },
  { batch: 1, heads: 2, queries: 3, keys: 5, size: 40 },
  { batch: 1, heads: 1, queries: 130, keys: 130, size: 8, causal: true },
  { batch: 1, heads: 1, queries: 13, keys: 13, size: 10, causal: true },
  { batch: 1, heads: 1, queries: 130, keys: 130, size: 6, causal: true },
  { batch: 2, heads: 2, queries: 131, keys: 129, size: 12 },
  { batch: 1, heads: 2, queries: 213, keys: 77, size: 40, scale: 0.5 },
  { batch: 1, heads: 1, queries: 205, keys: 80, size: 80 },
  // From 512 × 512 meetings on a lane of a CPU adapter may hold 320 sums.
  { batch: 1, heads: 1, queries: 515, keys: 513, size: 20 },
];

for (const shape of cases) {
  const { batch, heads, queries, keys, size, causal } = shape;
  const name = `${batch} × ${heads} heads of ${size}, ${queries} queries, ${keys} keys${causal ? ", causal" : ""}`;
  Deno.test(`attention kernels agree with the definition: ${name}`, () => check(shape, size === 10));
}

Deno.test("lanes take two rows of SD v1.5's largest heads each, and agree with the definition", async () => {
  const shape = { batch: 1, heads: 1, queries: 520, keys: 507, size: 160 }, cpu = targets.find(({ cpu }) => cpu)!;
  deepEqual(attentionForward(shape, cpu).workgroups, [Math.ceil(520 / (2 * cpu.subgroupSize)), 1, 1]);
  await checkForward(shape, cpu, givenFor(shape));
});

Deno.test("a GPU's invocations take two rows each where enough workgroups are left, and agree with the definition", async () => {
  const gpu = targets.find(({ cpu }) => !cpu)!;
  const groups = (shape: AttentionShape) => attentionForward(shape, gpu).workgroups[0];
  // 64 invocations; at 48 channels two of them share their rows.
  for (const [size, queries, perGroup] of [[10, 130, 128], [48, 70, 64]]) {
    const shape = { batch: 8, heads: 8, queries, keys: 9, size, causal: size === 10 };
    equal(groups(shape), Math.ceil(queries / perGroup));
    equal(groups({ ...shape, batch: 1, heads: 1 }), Math.ceil(2 * queries / perGroup));
    await checkForward(shape, gpu, givenFor(shape));
  }
});

Deno.test("teams of a GPU's invocations make weights of the gradients together, for two rows each, and agree with the definition", async () => {
  const gpu = targets.find(({ cpu }) => !cpu)!;
  // Two invocations share two rows of 24 channels of the keys, so 64 of them own 64 rows.
  const shape = { batch: 8, heads: 8, queries: 70, keys: 70, size: 24, causal: true };
  const kernel = attentionKeyValueGradient(shape, gpu), { q, k, v, dy, expected } = givenFor(shape);
  equal(kernel.workgroups[0], Math.ceil(70 / 64));
  const inputs = [q, k, v, dy, Float32Array.from(expected.lse), Float32Array.from(expected.delta)];
  const [dk, dv] = await runKernel(device, kernel, inputs, [k.length, k.length]);
  close(dk, expected.dk, "dk");
  close(dv, expected.dv, "dv");
});

Deno.test("several of a GPU's workgroups share the queries that few keys meet, and agree with the definition", async () => {
  const gpu = targets.find(({ cpu }) => !cpu)!;
  // One row an invocation in the first, two in the second.
  for (
    const [shape, shares] of [
      [{ batch: 1, heads: 2, queries: 515, keys: 7, size: 6 }, 4],
      [{ batch: 2, heads: 16, queries: 540, keys: 9, size: 6 }, 4],
    ] as const
  ) {
    const kernel = attentionKeyValueGradient(shape, gpu), { q, k, v, dy, expected } = givenFor(shape);
    deepEqual(kernel.workgroups, [1, shape.heads, shape.batch * shares]);
    equal(kernel.finish?.scratchBytes, 4 * shares * 2 * k.length);
    const inputs = [q, k, v, dy, Float32Array.from(expected.lse), Float32Array.from(expected.delta)];
    const [dk, dv] = await runKernel(device, kernel, inputs, [k.length, k.length]);
    close(dk, expected.dk, "dk");
    close(dv, expected.dv, "dv");
  }
  // Cross-attention of SD v1.5 at 512×512: without shares 24 workgroups at the first level, 40 at the second.
  for (const [queries, size, workgroups] of [[4096, 40, 256], [1024, 80, 192], [256, 160, 80]]) {
    const kernel = attentionKeyValueGradient({ batch: 1, heads: 8, queries, keys: 77, size }, gpu);
    equal(kernel.workgroups.reduce((a, b) => a * b), workgroups, `${queries} queries`);
    equal(kernel.finish !== undefined, queries > 256);
  }
});

/** Bytes of a kernel's workgroup memory. */
function workgroupBytes({ wgsl }: { wgsl: string }): number {
  const arrays = [...wgsl.matchAll(/^var<workgroup> \w+: array<(?:f32|vec(\d)<f32>), (\d+)>;/gm)];
  return arrays.reduce((sum, [, width = "1", count]) => sum + 4 * Number(width) * Number(count), 0);
}

Deno.test("a GPU's kernels meet fewer rows at a time where workgroup memory is short, and agree with the definition", async () => {
  const gpu = targets.find(({ cpu }) => !cpu)!;
  // The VAE's one head, with WebGPU's default.
  const vae = { batch: 1, heads: 1, queries: 4096, keys: 4096, size: 512 };
  for (const kernel of [attentionForward, attentionQueryGradient, attentionKeyValueGradient]) {
    const bytes = workgroupBytes(kernel(vae, { ...gpu, maxWorkgroupStorageBytes: 16384 }));
    ok(bytes > 0 && bytes <= 16384, `${bytes} bytes`);
  }
  const shape = { batch: 8, heads: 8, queries: 70, keys: 70, size: 24, causal: true };
  const { q, k, v, dy, expected } = givenFor(shape);
  const inputs = [q, k, v, dy, Float32Array.from(expected.lse), Float32Array.from(expected.delta)];
  // Blocks of two rows, and of one: four take 7,104 bytes.
  for (const maxWorkgroupStorageBytes of [4096, 2048]) {
    const kernel = attentionKeyValueGradient(shape, { ...gpu, maxWorkgroupStorageBytes });
    ok(workgroupBytes(kernel) <= maxWorkgroupStorageBytes);
    const [dk, dv] = await runKernel(device, kernel, inputs, [k.length, k.length]);
    close(dk, expected.dk, "dk");
    close(dv, expected.dv, "dv");
  }
});
