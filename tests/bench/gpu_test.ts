import { deepEqual, equal, match, ok } from "node:assert/strict";
import { packedText, projectConfig } from "../../bench/gpu/packed.ts";
import { allPieces } from "../../bench/gpu/pieces.ts";
import { profileLines } from "../../bench/gpu/profile_lines.ts";
import { pieceLine, reportOf } from "../../bench/gpu/report.ts";
import { type Run, runPiece } from "../../bench/gpu/run_piece.ts";
import { judgedOps, sizesOf } from "../../bench/gpu/sizes.ts";
import { type Finding, judge } from "../../bench/gpu/targets.ts";
import type { Line } from "../../bench/line.ts";
import { inputsOf, nominalBytes, nominalOperations, readOps } from "../../bench/op_list.ts";
import { prepareOp } from "../../bench/ops.ts";
import { profileOf } from "../../bench/profile/profile.ts";
import { Device, input, linear, plan } from "../../engine/mod.ts";

const sizes = sizesOf(false);
const both = "sd15 512px batch1 rank64 both", frozen = "sd15 512px batch1 rank64 frozen";
const picture = "sd15 512px ddim 20 steps batch1";

function found(lines: readonly Line[], start: string): Finding {
  const findings = judge(lines, sizes, (piece) => `nothing of ${piece}`).filter(({ target }) =>
    target.startsWith(start)
  );
  equal(findings.length, 1, start);
  return findings[0];
}

function kernel(op: string, shape: string, share: number, more: Line = {}): Line {
  return { peer: "dualora", op, shape, pass: "forward", dtype: "f32", share, ...more };
}

function step(peer: string, shape: string, ms: number, more: Line = {}): Line {
  return { peer, op: "dual_step", shape, pass: "step", dtype: "f16", ms_median: ms, ...more };
}

Deno.test("a kernel's target is met where every size reaches the share, not met where one does not, and open where one is missing", () => {
  const product = (share: number, dtype: string) => kernel("matmul", "2048x2048x2048", share, { dtype });
  const lines = [product(0.5, "f32"), product(0.499, "f16")];
  deepEqual(found(lines, "f32 product"), {
    target: "f32 product: 2048x2048x2048",
    wanted: "at least 50 % of the f32 peak",
    found: "50 % (matmul 2048x2048x2048 f32)",
    verdict: "met",
  });
  equal(found(lines, "product, f16").verdict, "not met");
  // The last line of one kernel counts.
  equal(found([...lines, product(0.3, "f32")], "f32 product").verdict, "not met");
  const norms = [
    kernel("silu", "65536x320", 0.9),
    kernel("group_norm_silu", "16x64x64x320", 0.7),
    kernel("layer_norm", "65536x320", 0.8, { pass: "forward+gradient" }),
  ];
  const all = found(norms, "elementwise");
  equal(all.verdict, "met");
  equal(all.found, "70 % (group_norm_silu 16x64x64x320 f32) to 90 % (silu 65536x320 f32); 3 of 3 reach it");
  const two = found(norms.slice(0, 2), "elementwise");
  deepEqual([two.verdict, two.found.endsWith("; no figure of 65536x320")], ["no figure", true]);
  equal(found([...norms.slice(1), kernel("silu", "65536x320", 0.69)], "elementwise").verdict, "not met");
});

Deno.test("a kernel without a figure says what its line says, or what became of its piece", () => {
  const skipped: Line = {
    peer: "dualora",
    op: "matmul",
    shape: "2048x2048x2048",
    pass: "forward",
    dtype: "f32",
    skipped: "out of memory",
  };
  deepEqual([found([skipped], "f32 product").verdict, found([skipped], "f32 product").found], [
    "no figure",
    "out of memory",
  ]);
  equal(found([], "attention").found, "nothing of kernels");
});

Deno.test("a dual step is held against PyTorch's of the same shape, loop and format: frozen has to be faster, both may take half as long again", () => {
  const theirs = (shape: string, ms: number, loop = "original", dtype = "f16") =>
    step(`torch 2.11 ${loop} sdp`, shape, ms, { dtype });
  const lines = [
    ...[step("dualora", both, 150), theirs(both, 100), theirs(both, 50, "clean"), theirs(both, 1, "original", "f32")],
    ...[step("dualora", frozen, 100), theirs(frozen, 100)],
  ];
  const original = found(lines, "dual step, both training, beside PyTorch in fp16, the original's");
  deepEqual([original.verdict, original.found], ["met", "1.50: ours 150.0 ms, theirs 100.0 ms"]);
  const clean = found(lines, "dual step, both training, beside PyTorch in fp16, one");
  deepEqual([clean.verdict, clean.found], ["–", "3.00: ours 150.0 ms, theirs 50.0 ms"]);
  equal(found(lines, "dual step, network 1 frozen, beside PyTorch in fp16, the original's").verdict, "not met");
  equal(
    found([...lines, theirs(frozen, 101)], "dual step, network 1 frozen, beside PyTorch in fp16, the original's")
      .verdict,
    "met",
  );
  equal(
    found([...lines, step("dualora", both, 151)], "dual step, both training, beside PyTorch in fp16, the original's")
      .verdict,
    "not met",
  );
  const without = found(lines, "dual step, network 1 frozen, beside PyTorch in fp16, one");
  deepEqual([without.verdict, without.found], ["–", "ours 100.0 ms; nothing of torch-frozen-clean"]);
});

Deno.test("the host's overhead is what the clock sees beyond the kernels' own time", () => {
  const profile = (shape: string, ms: number | null): Line => ({
    op: "profile",
    shape,
    by: "step",
    device_ms: ms,
    host_ms: 15,
  });
  const steps = [step("dualora", both, 100), step("dualora", frozen, 100)];
  const lines = [...steps, profile(both, 95), profile(frozen, 94)];
  const met = found(lines, "host overhead of the dual step, both");
  equal(met.verdict, "met");
  match(
    met.found,
    /^5 % at most: of 100\.0 ms by the clock kernels take 95\.0, .* the host's work, overlapped or not, is 15 %$/,
  );
  equal(found(lines, "host overhead of the dual step, network 1").verdict, "not met");
  equal(
    found([...steps, profile(both, null)], "host overhead of the dual step, both").found,
    "the adapter has no timestamps",
  );
  equal(found(steps, "host overhead of the dual step, both").found, "nothing of dual-both");
});

Deno.test("sampling may take twice diffusers' time", () => {
  const sampled = (peer: string, ms: number): Line => ({ ...step(peer, picture, ms), op: "sampling" });
  const theirs = sampled("torch 2.11 diffusers", 1000), own = "sampling beside", inF16 = "sampling in f16 arithmetic";
  equal(found([sampled("dualora", 2000), theirs], own).verdict, "met");
  // In f16 arithmetic it is judged by itself.
  const both = [sampled("dualora", 2010), { ...sampled("dualora", 1900), dtype: "f16 arithmetic" }, theirs];
  equal(found(both, own).verdict, "not met");
  match(found(both, inF16).found, /^1\.90: /);
  equal(found([sampled("dualora", 2000), theirs], inF16).verdict, "no figure");
  equal(found([sampled("dualora", 2010), theirs], own).verdict, "not met");
  equal(found([sampled("dualora", 2000)], own).found, "ours 2000.0 ms; nothing of torch-sampling");
});

Deno.test("the report says why there is no figure: not run, out of time, failed, or none given", () => {
  const pieces = allPieces({ out: "out", trial: false });
  const text = reportOf(
    [
      pieceLine("kernels", "done", "", 3),
      pieceLine("dual-both", "out of time", "ended after 150 s", 150),
      pieceLine("sampling", "failed", "ended with 1", 2),
    ],
    pieces,
    sizes,
  );
  match(text, /\| attention: [^|]* \| [^|]* \| piece kernels gave none \| \*\*no figure\*\* \|/);
  match(
    text,
    /\| host overhead of the dual step, both training \| [^|]* \| piece dual-both: out of time, ended after 150 s \|/,
  );
  match(text, /\| sampling beside [^|]* \| [^|]* \| piece sampling: failed, ended with 1 \|/);
  match(text, /\| host overhead of the dual step, network 1 frozen \| [^|]* \| piece dual-frozen was not run \|/);
  match(text, /^Of 11 targets 0 met, 0 not met, 11 without a figure\.$/m);
});

Deno.test("the report names the tests that failed, of repeated ones by their last run", () => {
  const test = (shape: string, passed: boolean): Line => ({
    peer: "dualora",
    op: "parity",
    shape,
    pass: "test",
    passed,
  });
  const text = reportOf([test("a", false), test("b", true), test("c", false), test("a", true)], [], sizes);
  match(text, /2 tests passed, 1 failed\n- c\n/);
});

/** Runs a program of a line or two under Deno, and gives what was heard. */
async function heardOf(code: string, given: Partial<Run> = {}) {
  const lines: Line[] = [], texts: string[] = [];
  const run: Run = {
    command: Deno.execPath(),
    args: ["eval", "--quiet", code],
    cwd: Deno.cwd(),
    prints: "json",
    seconds: 20,
    ...given,
  };
  const { state, reason } = await runPiece(run, {
    onLine: (line) => lines.push(line),
    onText: (text) => texts.push(text),
  });
  return { lines, texts, state, reason };
}

Deno.test("what a piece printed before it fails, hangs or is killed is kept, and nothing is thrown", async (t) => {
  const line = `console.log('{"op":"a"}'); `;
  await t.step("it is done", async () => {
    const none = await heardOf(`console.log('{"a": NaN, "b": [-Infinity, 1]}')`);
    deepEqual(none.lines, [{ a: null, b: [null, 1] }]);
    const found = await heardOf(line + "console.log('words {}'); console.log('{no json'); console.error('b')");
    deepEqual([found.lines, found.state, found.reason], [[{ op: "a" }], "done", ""]);
    deepEqual(found.texts.toSorted(), ["b", "words {}", "{no json"]);
  });
  await t.step("it fails", async () => {
    const { texts: _, ...found } = await heardOf(line + "throw new Error('lost')");
    deepEqual(found, { lines: [{ op: "a" }], state: "failed", reason: "ended with 1" });
  });
  await t.step("it is killed", async () => {
    const { texts: _, ...found } = await heardOf(line + "Deno.kill(Deno.pid, 'SIGKILL')");
    deepEqual(found, { lines: [{ op: "a" }], state: "failed", reason: "ended with SIGKILL" });
  });
  await t.step("it hangs", async () => {
    const { texts: _, ...found } = await heardOf(line + "for (;;);", { seconds: 1 });
    deepEqual(found, { lines: [{ op: "a" }], state: "out of time", reason: "ended after 1 s" });
  });
});

Deno.test("what a program of the system says is heard as lines", async () => {
  const { lines, texts } = await heardOf("console.log('a, b'); console.error('c')", { prints: "text" });
  deepEqual([lines, texts], [[{ op: "said", text: "a, b" }], ["c"]]);
});

Deno.test("tests' results are heard as lines", async () => {
  const { lines } = await heardOf("console.log('ok 1 - a b'); console.log('not ok 2 - c'); console.log('1..2')", {
    prints: "tap",
  });
  deepEqual(lines.map(({ op, shape, passed }) => [op, shape, passed]), [["parity", "a b", true], [
    "parity",
    "c",
    false,
  ]]);
});

Deno.test("every judged size is one of the list, and every piece's limit is within one run", async () => {
  const ops = (await readOps()).map(({ op, shape }) => `${op} ${shape}`);
  for (const each of [sizes, sizesOf(true)]) {
    for (const op of judgedOps) for (const shape of each[op]) ok(ops.includes(`${op} ${shape}`), `${op} ${shape}`);
  }
  const pieces = allPieces({ out: "out", trial: false });
  equal(new Set(pieces.map(({ name }) => name)).size, pieces.length);
  ok(pieces.every(({ seconds }) => seconds <= 240));
});

Deno.test("an op stored in f16 gives its f32 result within f16's rounding, and moves half the bytes", async () => {
  const product = { op: "matmul", shape: "4x8x16", dims: [4, 8, 16] } as const;
  const [a, b] = inputsOf(product, "forward").map(({ data }) => data);
  let expected = 0;
  for (let i = 0; i < 32; i++) {
    let sum = 0;
    for (let k = 0; k < 16; k++) sum += a[16 * (i >> 3) + k] * b[8 * k + i % 8];
    expected += Math.abs(sum) / 32;
  }
  using device = await Device.open();
  const { run, wait, check } = await prepareOp(device, product, "forward", "f16");
  run();
  await wait();
  const error = Math.abs(await check() - expected) / expected;
  // Inputs and output are rounded to 11 bits; in f32 the error would be below 1e-6.
  ok(error > 1e-6 && error < 2 ** -9, `${error}`);
  equal(nominalBytes(product, "forward", 2), 2 * (4 * 16 + 16 * 8 + 4 * 8));
});

Deno.test("SiLU is bound by memory: x and the output, with gradients the output's gradient and x's as well", () => {
  const silu = { op: "silu", dims: [6, 4] } as const;
  deepEqual([nominalOperations(silu, "forward"), nominalBytes(silu, "forward") / 24], [null, 4 * 2]);
  equal(nominalBytes(silu, "forward+gradient") / 24, 4 * 4);
});

Deno.test("a profile's lines are the step, its ops and their sizes", () => {
  const first = linear(input("x", [3, 2]), input("weight", [4, 2]));
  const program = plan({ outputs: { y: linear(first, input("second", [4, 4])) } });
  const times = { program, allRuns: 4, runs: 2, stepMs: Float64Array.of(2, 6), hostMs: 3, hostRuns: 6, dispatches: 2 };
  const lines = profileLines(
    { op: "dual_step", shape: "s", pass: "step" },
    profileOf(times, { gflops: 1, gigabytes: 1 }),
    { timestamps: true },
  );
  deepEqual(lines.map(({ by, row, device_ms, host_ms }) => [by, row, device_ms, host_ms ?? null]), [
    ["step", undefined, 4, 0.5],
    ["op", "matmul", 4, null],
    ["size", "matmul [3, 4], [4, 4]", 3, null],
    ["size", "matmul [3, 2], [4, 2]", 1, null],
  ]);
});

Deno.test("what travels takes packages from its own folder and fetches nothing", () => {
  const config = JSON.parse(projectConfig('{"nodeModulesDir":"auto","lock":{"frozen":true},"tasks":{"a":"b"}}'));
  deepEqual(config, { tasks: { a: "b" }, nodeModulesDir: "manual", lock: false });
  equal(
    packedText("f", new Map([["a", 2 ** 20], ["b", 3 * 2 ** 20]])),
    "f:\n   3.0 MiB  b\n   1.0 MiB  a\n   4.0 MiB  in all",
  );
});

Deno.test("of each product's tiles the report shows the one by counts beside the fastest", () => {
  const tile = (shape: string, byCounts: number, ms: number, more: Line = {}): Line => ({
    ...{
      peer: "dualora",
      op: "tile conv3x3",
      shape,
      pass: "forward",
      dtype: "f32",
      device_ms: ms,
      by_counts: byCounts,
    },
    ...{ tile: byCounts === 1 ? "64x64x16" : "32x32x16", rows_each: 4, splits: byCounts, parts: 2, ...more },
  });
  const lines = [
    tile("a", 1, 3),
    tile("a", 2, 2),
    tile("a", 3, 2.5),
    tile("b", 1, 1),
    tile("b", 2, 4),
    tile("a", 3, 7),
  ];
  const report = reportOf([...lines, tile("c", 2, 1), tile("d", 1, 1, { skipped: "no room" })], [], sizes);
  const rows = report.split("## Tiles of products\n\n")[1].split("\n\n")[0].split("\n").slice(2);
  deepEqual(rows, [
    "| conv3x3 a f32 | 64x64x16, 4 rows each, 1 splits, 2 parts: 3 ms | 32x32x16, 4 rows each, 2 splits, 2 parts: 2 ms | 1.5 | 3 |",
    "| conv3x3 b f32 | 64x64x16, 4 rows each, 1 splits, 2 parts: 1 ms | 64x64x16, 4 rows each, 1 splits, 2 parts: 1 ms | 1 | 2 |",
  ]);
});
