import { deepEqual, equal, ok } from "node:assert/strict";
import { readFile } from "node:fs/promises";
import type { LoraFileModule } from "../../formats/lora_file.ts";
import { factorSpaces } from "../../lora/factor_spaces.ts";
import { largestSingularValues } from "../../lora/low_rank.ts";
import { loraDelta } from "../../lora/merge.ts";
import { type rankRules, resizedRank, resizeModule } from "../../lora/resize.ts";
import { goldenPath } from "../probe/golden_tensors.ts";

interface Case {
  up: number[][];
  down: number[][];
  singular_values: number[];
  rules: { method: typeof rankRules[number]; target: number; rank: number }[];
  rank_2: number[][];
  norm_kept_2: number;
  sum_kept_2: number;
}
const { cases }: { cases: Case[] } = JSON.parse(await readFile(goldenPath("lora_tools/resize.json"), "utf8"));

function moduleOf({ up, down }: Pick<Case, "up" | "down">, alpha: number): LoraFileModule {
  const weight = (rows: number[][]) => ({
    shape: [rows.length, rows[0].length],
    values: Float32Array.from(rows.flat()),
  });
  return { name: "lora_te_x", alpha, down: weight(down), up: weight(up) };
}

function nearlyEqual(found: ArrayLike<number>, expected: ArrayLike<number>, limit: number) {
  equal(found.length, expected.length);
  for (let i = 0; i < expected.length; i++) {
    ok(Math.abs(found[i] - expected[i]) <= limit, `${i}: ${found[i]}, expected ${expected[i]}`);
  }
}

for (const [index, golden] of cases.entries()) {
  const shape = `${golden.up.length}x${golden.down[0].length}, rank ${golden.down.length}`;
  Deno.test(`singular values, kept ranks and the approximation of rank 2 are numpy's: ${shape}`, () => {
    const module = moduleOf(golden, 3), { values } = factorSpaces(module);
    nearlyEqual(values, golden.singular_values.slice(0, values.length), 1e-12);
    for (const { method: by, target, rank } of golden.rules) {
      const found = resizedRank(values, golden.singular_values.length, { rank: 64, rule: { by, target } });
      equal(found, rank, `${index}: ${by} ${target}`);
    }
    const { module: small, normKept, sumKept } = resizeModule(module, { rank: 2 });
    nearlyEqual([normKept, sumKept], [golden.norm_kept_2, golden.sum_kept_2], 1e-12);
    deepEqual([small.down.shape, small.up.shape], [[2, golden.down[0].length], [golden.up.length, 2]]);
    nearlyEqual(loraDelta(small, 1), golden.rank_2.flat().map((value) => 3 / golden.down.length * value), 2e-6);
  });
}

Deno.test("a module whose rank is small enough keeps its change, and one that does nothing gets rank 1", () => {
  const module = moduleOf(cases[0], 2), { module: same, normKept } = resizeModule(module, { rank: 64 });
  deepEqual([same.down.shape[0], same.alpha, normKept], [5, 2, 1]);
  nearlyEqual(loraDelta(same, 1), loraDelta(module, 1), 2e-6);
  const idle = { ...module, up: { ...module.up, values: new Float32Array(module.up.values.length) } };
  const { module: zero } = resizeModule(idle, { rank: 3 });
  deepEqual([zero.down.shape[0], zero.alpha, [...new Set(loraDelta(zero, 1))].map(Math.abs)], [1, 2 / 5, [0]]);
});

Deno.test("ranks that are asked for beyond a module's directions add nothing", () => {
  // The third row and column repeat the first.
  const down = [[1, 2, 0, 1], [0, 1, -1, 3], [1, 2, 0, 1]], up = [[1, 0, 1], [2, 1, 2], [0, 3, 0], [1, 1, 1]];
  const module = moduleOf({ up, down }, 3), { module: same, normKept, sumKept } = resizeModule(module, { rank: 3 });
  deepEqual([same.down.shape, same.up.shape, same.alpha, normKept, sumKept], [[3, 4], [4, 3], 3, 1, 1]);
  nearlyEqual(loraDelta(same, 1), loraDelta(module, 1), 2e-6);
});

Deno.test("a convolution keeps its kernel", () => {
  const values = (count: number) => Float32Array.from({ length: count }, (_, i) => Math.sin(i));
  const { module } = resizeModule({
    name: "lora_unet_x",
    alpha: 4,
    down: { shape: [4, 2, 3, 3], values: values(72) },
    up: { shape: [5, 4, 1, 1], values: values(20) },
  }, { rank: 2 });
  deepEqual([module.down.shape, module.up.shape, module.alpha], [[2, 2, 3, 3], [5, 2, 1, 1], 2]);
});

/** `Σ values[k] · u[k] v[k]ᵀ` with cosines as orthonormal vectors: singular values that are known. */
function constructed(outSize: number, inSize: number, values: readonly number[]): Float32Array {
  const cosine = (k: number, i: number, size: number) =>
    Math.sqrt((k === 0 ? 1 : 2) / size) * Math.cos(Math.PI * (i + 0.5) * k / size);
  return Float32Array.from({ length: outSize * inSize }, (_, at) => {
    const o = Math.floor(at / inSize), i = at % inSize;
    return values.reduce((sum, value, k) => sum + value * cosine(k, o, outSize) * cosine(k + 1, i, inSize), 0);
  });
}

Deno.test("the largest singular values of a large matrix are those it was made of, with few of them and with a long tail", () => {
  const few = [9, 7, 4, 2, 1];
  nearlyEqual(largestSingularValues(constructed(120, 90, few), 120, 90, 4).values, few.slice(0, 4), 1e-5);
  const tail = Array.from({ length: 90 }, (_, k) => 10 / (k + 1));
  const found = largestSingularValues(constructed(100, 130, tail), 100, 130, 4);
  nearlyEqual(found.values, tail.slice(0, 4), 1e-4);
  // Their vectors are orthonormal.
  const gram = found.left.transpose().mmul(found.left);
  nearlyEqual(gram.to1DArray(), [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1], 1e-10);
});
