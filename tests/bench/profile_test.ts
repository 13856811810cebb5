import { deepEqual, equal, match, ok } from "node:assert/strict";
import { flameGraphHtml } from "../../bench/profile/flame_graph.ts";
import { profileOf, profileText } from "../../bench/profile/profile.ts";
import { Device, input, linear, plan, Profiler, scoped, silu } from "../../engine/mod.ts";

/** `silu(x wᵀ)` and the layer alone, with scopes. */
function twoLayers() {
  const x = input("x", [3, 2]), y = scoped("layer", () => linear(x, input("weight", [4, 2])));
  return plan({ outputs: { z: scoped("activation", () => silu(y)) } });
}

Deno.test("a profile sums its steps' times by op and by scope, and counts their operations", () => {
  const program = twoLayers(), stepMs = Float64Array.from(program.steps, (_, i) => 2 * (i + 1));
  const profile = profileOf({ program, allRuns: 9, runs: 2, stepMs, hostMs: 3, hostRuns: 6 });
  equal(profile.name, "layer, activation");
  equal(profile.milliseconds, 3);
  equal(profile.hostMilliseconds, 0.5);
  deepEqual(profile.byOp.map(({ name, milliseconds }) => [name, milliseconds]), [["silu", 2], ["matmul", 1]]);
  // 2 · 3 · 2 · 4 operations in a millisecond; x, weight and y are bound.
  ok(Math.abs(profile.byOp[1].gflops - 48 / 1e6) < 1e-12);
  equal(profile.bytesMoved, 4 * (6 + 8 + 12 + 12 + 12));
  deepEqual([...profile.tree.children.values()].map(({ name, milliseconds }) => [name, milliseconds]), [
    ["layer", 1],
    ["activation", 2],
  ]);
  match(profileText(profile), /3\.0 ms a run, 9 runs, 2 dispatches, .* host 0\.50 ms, 16\.7 % of it/);
});

Deno.test("flameGraphHtml() escapes names and draws a bar for each scope", () => {
  const program = twoLayers(), stepMs = Float64Array.of(1, 1);
  const profile = profileOf({ program, allRuns: 1, runs: 1, stepMs, hostMs: 0, hostRuns: 0 });
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
