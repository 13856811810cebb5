import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import { join } from "node:path";
import type { Line } from "../../bench/line.ts";
import { inputsOf, nominalBytes, nominalOperations, type Op, type Pass } from "../../bench/op_list.ts";
import { dualTable } from "../../bench/peers/dual_table.ts";
import { measureInterleaved, type Runner } from "../../bench/peers/interleave.ts";
import { PeerProgram } from "../../bench/peers/program.ts";
import { compareLines, tableRow, tableSummary } from "../../bench/peers/table.ts";
import { prepareOp } from "../../bench/ops.ts";
import { timeBatch } from "../../bench/timing.ts";
import { measureRoofline, shareOfPeak } from "../../bench/roofline.ts";
import { Device } from "../../engine/mod.ts";
import { setFlags } from "../../tools/permissions.ts";
import { projectFolder } from "../../tools/project_files.ts";

const product: Op = { op: "matmul", shape: "2x2x2", dims: [2, 2, 2] };

/** A runner by rule: each run takes `runMs`, and its name goes into `order`. */
function runner(name: string, runMs: number, order: string[], failsAt?: "prepare" | "batch"): Runner {
  const fail = (at: string) => {
    if (failsAt === at) throw new Error(`${name} cannot ${at}`);
  };
  return {
    prepare: () => {
      order.push(`${name} prepares`);
      fail("prepare");
      return Promise.resolve(1);
    },
    batch: (runs) => {
      order.push(`${name} ${runs}`);
      fail("batch");
      return Promise.resolve({ wallMs: runs * runMs, cpuMs: 2 * runs * runMs });
    },
  };
}

Deno.test("measureInterleaved() takes a batch of each runner in turn, and fewer of a slow one", async () => {
  const order: string[] = [];
  const outcomes = await measureInterleaved(
    [runner("fast", 100, order), runner("slow", 5000, order)],
    product,
    "forward",
    { seconds: 1 },
  );
  // The fast one doubles to 200 ms; five such batches are a second. One batch of the slow one is more than its time.
  deepEqual(order, [
    ...["fast prepares", "slow prepares", "fast 1", "slow 1", "fast 2", "fast 2", "fast 2", "fast 2", "fast 2"],
  ]);
  const times = outcomes.map((outcome) => "timing" in outcome ? outcome.timing : null);
  deepEqual(times.map((each) => [each!.medianMs, each!.cpuMs, each!.batches, each!.runsPerBatch]), [
    [100, 200, 5, 2],
    [5000, 10000, 1, 1],
  ]);
});

Deno.test("measureInterleaved() says why a runner has no figure, and goes on with the others", async () => {
  const order: string[] = [], options = { seconds: 1 };
  const runners = [runner("a", 500, order, "prepare"), runner("b", 500, order, "batch"), runner("c", 500, order)];
  const [a, b, c] = await measureInterleaved(runners, product, "forward", options);
  deepEqual([a, b], [{ skipped: "a cannot prepare" }, { skipped: "b cannot batch" }]);
  ok("timing" in c && c.timing.batches === 2);
});

function line(peer: string, cpuMs: number, check = 1): Line {
  const key = { peer, op: "matmul", shape: "2x2x2", pass: "forward", dtype: "f32" };
  return { ...key, ms_median: cpuMs / 2, cpu_ms: cpuMs, check, compared_by: "cpu_ms" };
}

Deno.test("the ratio is that of the faster peer on WebGPU, by the time that the lines name", () => {
  const lines = [line("dualora", 10), line("jax-js", 30), line("tfjs", 20), line("torch 2.15 cpu", 1)];
  equal(compareLines(lines).ratio, 2);
  const byClock = [{ ...lines[0], compared_by: "ms_median", ms_median: 4 }, {
    ...lines[1],
    compared_by: "ms_median",
    ms_median: 20,
  }];
  equal(compareLines(byClock).ratio, 5);
});

Deno.test("a result that is not the others' is marked and gives no ratio", () => {
  const peers = ["dualora", "jax-js", "tfjs"];
  const wrongPeer = compareLines([line("dualora", 10), line("jax-js", 30), line("tfjs", 5, 1.01)]);
  deepEqual([...wrongPeer.differing], ["tfjs"]);
  equal(wrongPeer.ratio, 3);
  match(tableRow(wrongPeer, peers), /\| 10 \(5\) \| 30 \(15\) \| 5 \(2\.5\) \*\*differs\*\* \| 3\.00 \|/);
  const wrongOurs = compareLines([line("dualora", 10, NaN), line("jax-js", 30), line("tfjs", 50)]);
  deepEqual([...wrongOurs.differing], ["dualora"]);
  equal(wrongOurs.ratio, null);
});

Deno.test("the summary has the geometric mean of the ratios, names the low ones and what was not run", () => {
  const skipped: Line = { ...line("tfjs", 0), skipped: "out of memory" };
  const text = tableSummary([
    compareLines([line("dualora", 10), line("jax-js", 80)]),
    compareLines([{ ...line("dualora", 10), shape: "3x3x3" }, line("jax-js", 5), skipped]),
  ]);
  match(text, /Geometric mean 2\.00 of 2 /);
  match(text, /Below 2: matmul 3x3x3 forward 0\.50\./);
  match(text, /- not run: tfjs, matmul 3x3x3, forward: out of memory/);
});

Deno.test("the table of dual steps has ratios of the smallest times of all rounds", () => {
  const step = (peer: string, cpuMs: number, ms: number): Line => ({
    ...{ peer, op: "dual_step", shape: "toy", adapter: peer === "dualora" ? "llvmpipe" : "cpu, 1 threads" },
    ...{ cpu_ms: cpuMs, ms_median: ms },
  });
  const text = dualTable([
    ...[step("dualora", 300, 200), step("torch 2.15", 100, 90), step("dualora", 250, 220), step("torch 2.15", 125, 80)],
  ]);
  match(text, /\| dualora \| llvmpipe \| 250 \| 200 \| 1\.00 \| 1\.00 \|/);
  match(text, /\| torch 2\.15 \| cpu, 1 threads \| 100 \| 80 \| 2\.50 \| 2\.50 \|/);
});

const ourProgram = {
  command: Deno.execPath(),
  args: ["run", ...setFlags("peer"), join(projectFolder, "bench", "peers", "dualora.ts")],
  cwd: projectFolder,
};

Deno.test("dualora's program answers with the result's mean, with times, and with why it cannot", async () => {
  const program = await PeerProgram.start(ourProgram);
  try {
    equal(program.hello.peer, "dualora");
    const [a, b] = inputsOf(product, "forward").map(({ data }) => data);
    const sums = [0, 1].flatMap((m) => [0, 1].map((n) => a[2 * m] * b[n] + a[2 * m + 1] * b[2 + n]));
    const expected = sums.reduce((sum, value) => sum + Math.abs(value), 0) / 4;
    ok(Math.abs(await program.prepare(product, "forward") - expected) < 1e-6);
    const { wallMs, cpuMs } = await program.batch(3);
    ok(wallMs > 0 && cpuMs > 0);
    const huge: Op = { op: "matmul", shape: "65536x65536x1", dims: [65536, 65536, 1] };
    await rejects(program.prepare(huge, "forward"), /RangeError: Cannot run matmul: its result/);
    ok(Math.abs(await program.prepare(product, "forward") - expected) < 1e-6);
  } finally {
    await program.stop();
  }
});

Deno.test("a program that ends is said to have ended, and started anew for the next op", async () => {
  const script = await Deno.makeTempFile({ suffix: ".ts" });
  await Deno.writeTextFile(
    script,
    `console.log('{"peer":"short"}');
for await (const _ of Deno.stdin.readable) { if (Deno.args[0] === "dies") Deno.exit(7); }`,
  );
  const program = await PeerProgram.start({
    command: Deno.execPath(),
    args: ["run", script, "dies"],
    cwd: projectFolder,
  });
  try {
    for (let i = 0; i < 2; i++) await rejects(program.prepare(product, "forward"), /the program ended with 7/);
  } finally {
    await program.stop();
    await Deno.remove(script);
  }
});

Deno.test("nominal operations and bytes are those of the direct algorithm", () => {
  const of = (op: Op["op"], dims: number[]) =>
    (["forward", "forward+gradient"] as Pass[]).map((pass) => [
      nominalOperations({ op, dims }, pass),
      nominalBytes({ op, dims }, pass) / 4,
    ]);
  // C = A·B; with gradients of both, dA = dC·Bᵀ and dB = Aᵀ·dC as well.
  deepEqual(of("matmul", [5, 3, 7]), [[210, 35 + 21 + 15], [630, 35 + 21 + 15 + 15 + 35 + 21]]);
  // Each of 2·4·4 pixels and 6 channels sums 9·3 products; the weights get no gradient.
  deepEqual(of("conv3x3", [2, 4, 4, 3, 6]), [
    [2 * 32 * 6 * 27, 96 + 162 + 192],
    [4 * 32 * 6 * 27, 96 + 162 + 192 + 192 + 96],
  ]);
  // q·kᵀ and p·v.
  deepEqual(of("attention", [1, 8, 2, 4])[0], [2 * 2 * 2 * 8 * 8 * 4, 4 * 64]);
  deepEqual(of("layer_norm", [6, 4]), [[null, 24 + 4 + 4 + 24], [null, 24 + 4 + 4 + 24 + 24 + 24]]);
});

Deno.test("the share of the peak is that of the rate that bounds the work", () => {
  const peaks = { gflops: 100, gigabytes: 10 };
  // 10⁸ operations take 1 ms at the least, 10⁷ bytes as well.
  deepEqual(shareOfPeak(peaks, { operations: 1e8, bytes: 1e6, ms: 4 }), { bound: "arithmetic", share: 0.25 });
  deepEqual(shareOfPeak(peaks, { operations: 1e7, bytes: 1e7, ms: 2 }), { bound: "memory", share: 0.5 });
});

Deno.test("measureRoofline() finds a rate that a product does not pass", async () => {
  using device = await Device.open();
  const { byClock, byCpu } = await measureRoofline(device, { seconds: 0.01 });
  ok([byClock, byCpu].every(({ gflops, gigabytes }) => gflops < 1e6 && gigabytes < 1e5));
  const work = await prepareOp(device, { op: "matmul", shape: "", dims: [128, 128, 128] }, "forward");
  const { wallMs, cpuMs } = await timeBatch(work, 20), operations = 20 * 2 * 128 ** 3 / 1e6;
  ok(byClock.gflops > operations / wallMs && byCpu.gflops > operations / cpuMs);
});
