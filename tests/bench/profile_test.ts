import { deepEqual, equal, match, ok, throws } from "node:assert/strict";
import { flameGraphHtml } from "../../bench/profile/flame_graph.ts";
import { type ProfileNode, profileOf, profileText } from "../../bench/profile/profile.ts";
import { replayTimes } from "../../bench/profile/replay.ts";
import { Device, input, linear, plan, Profiler, scoped, silu } from "../../engine/mod.ts";

/** `silu(x wᵀ)` and the layer alone, with scopes. */
function twoLayers() {
  const x = input("x", [3, 2]), y = scoped("layer", () => linear(x, input("weight", [4, 2])));
  return plan({ outputs: { z: scoped("activation", () => silu(y)) } });
}

Deno.test("a profile sums its steps' times by op and by scope, and counts their operations", () => {
  const program = twoLayers(), stepMs = Float64Array.from(program.steps, (_, i) => 2 * (i + 1));
  // At these peaks the product's 48 operations take 0.1 ms and its 104 bytes less.
  const peaks = { gflops: 48 / 1e5, gigabytes: 1 };
  const profile = profileOf({ program, allRuns: 9, runs: 2, stepMs, hostMs: 3, hostRuns: 6, dispatches: 2 }, peaks);
  equal(profile.name, "layer, activation");
  equal(profile.milliseconds, 3);
  equal(profile.hostMilliseconds, 0.5);
  deepEqual(profile.byOp.map(({ name, milliseconds }) => [name, milliseconds]), [["silu", 2], ["matmul", 1]]);
  // 2 · 3 · 2 · 4 operations in a millisecond; x, weight and y are bound.
  ok(Math.abs(profile.byOp[1].gflops - 48 / 1e6) < 1e-12);
  ok(Math.abs(profile.byOp[1].share - 0.1) < 1e-9);
  equal(profile.bytesMoved, 4 * (6 + 8 + 12 + 12 + 12));
  deepEqual([...profile.tree.children.values()].map(({ name, milliseconds }) => [name, milliseconds]), [
    ["layer", 1],
    ["activation", 2],
  ]);
  match(profileText(profile), /3\.0 ms a run, 9 runs, 2 dispatches, .* host 0\.50 ms, 16\.7 % of it/);
});

Deno.test("flameGraphHtml() escapes names and draws a bar for each scope", () => {
  const program = twoLayers(), stepMs = Float64Array.of(1, 1);
  const profile = profileOf({ program, allRuns: 1, runs: 1, stepMs, hostMs: 0, hostRuns: 0, dispatches: 2 }, {
    gflops: 1,
    gigabytes: 1,
  });
  const html = flameGraphHtml("<script>", "adapter & driver", [profile]);
  ok(!html.includes("<script>") && html.includes("&lt;script&gt;") && html.includes("adapter &amp; driver"));
  equal(html.match(/title="layer: 1\.00 ms, 50\.0 %/g)?.length, 1);
});

Deno.test("a profiler times the chosen runs of a program, and changes no result", async () => {
  using device = await Device.open();
  if (!device.gpu.features.has("timestamp-query")) return;
  const program = twoLayers(), compiled = await device.compile(program);
  const feeds = { x: [1, 2, 3, 4, 5, 6], weight: [1, 0, 0, 1, 1, 1, -1, 1] };
  compiled.run(feeds);
  const plain = await compiled.read("z");
  const profiler = new Profiler({ skip: 1, runs: 2 });
  profiler.start();
  for (let run = 0; run < 4; run++) compiled.run(feeds);
  deepEqual(await compiled.read("z"), plain);
  const [times, ...others] = await profiler.stop();
  equal(others.length, 0);
  deepEqual([times.allRuns, times.runs, times.program], [4, 2, program]);
  ok(times.stepMs.every((ms) => ms > 0 && ms < 1e4), `${times.stepMs}`);
  compiled.run(feeds);
  equal(times.allRuns, 4);
});

/** Products of two sizes, one of them twice, and a smaller op. */
function mixedProgram() {
  const x = input("x", [192, 256]), weight = input("weight", [256, 256]);
  const first = scoped("block.first", () => linear(x, weight)),
    second = scoped("block.second", () => linear(first, weight));
  const small = scoped("head", () => linear(silu(second), input("head", [2, 256])));
  return plan({ outputs: { small, sum: scoped("sum", () => silu(small)) } });
}

Deno.test("replayed dispatches give the rows that timestamps give, and the same op takes the time", async () => {
  using device = await Device.open();
  if (!device.gpu.features.has("timestamp-query")) return;
  const program = mixedProgram(), compiled = await device.compile(program);
  const feeds = Object.fromEntries(
    [...program.inputs].map((
      [name, { type }],
    ) => [name, new Float32Array(type.shape.reduce((a, b) => a * b)).fill(0.1)]),
  );
  const timed = async (timestamps: boolean) => {
    const profiler = new Profiler({ skip: 1, runs: 2, timestamps });
    profiler.start();
    for (let run = 0; run < 3; run++) compiled.run(feeds);
    const [times] = await profiler.stop();
    return timestamps ? times : { ...times, runs: 1, stepMs: await replayTimes(program) };
  };
  const [stamped, replayed] = [await timed(true), await timed(false)].map((times) =>
    profileOf(times, { gflops: 100, gigabytes: 10 })
  );
  const rows = ({ byOp }: typeof stamped) => byOp.map(({ name, steps }) => [name, steps]);
  deepEqual(rows(replayed).toSorted(), rows(stamped).toSorted());
  deepEqual([replayed.name, replayed.dispatches, replayed.bytesMoved, replayed.runs], [
    ...[stamped.name, stamped.dispatches, stamped.bytesMoved, stamped.runs],
  ]);
  deepEqual(scopes(replayed.tree), scopes(stamped.tree));
  for (const { byOp } of [stamped, replayed]) equal(byOp[0].name, "matmul");
  ok(replayed.byOp.every(({ milliseconds }) => milliseconds > 0));
  const ratio = replayed.milliseconds / stamped.milliseconds;
  ok(ratio > 0.2 && ratio < 5, `${ratio}`);
});

function scopes({ name, children }: ProfileNode): unknown {
  return [name, [...children.values()].map(scopes).toSorted()];
}

Deno.test("a program that was released, or a dispatch that it lacks, cannot be replayed", async () => {
  using device = await Device.open();
  const compiled = await device.compile(twoLayers());
  throws(() => compiled.replay([9]), /RangeError: Cannot replay: there is no dispatch 9, there are 2/);
  device.release(compiled);
  throws(() => compiled.replay([0]), /Cannot replay: the program was released/);
});
