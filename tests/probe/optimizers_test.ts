import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { optimizerGolden, type OptimizerRun, probeOptimizer, trajectory } from "../../tools/probe/optimizer.ts";
import { goldenJson, goldenTensors, relativeError, sharedDevice } from "./golden_tensors.ts";

const folder = "training/optimizers/";
const json = await goldenJson(`${folder}optimizers`);
const { runs } = optimizerGolden(json) as { runs: Readonly<Record<string, OptimizerRun>> };

Deno.test("the goldens' runs are all there", () => {
  const left = Object.keys(json).filter((name) => !(name in runs));
  ok(left.every((name) => name === "adamw8bit" || name.startsWith("adafactor")), `${left}`);
  equal(Object.keys(runs).length, 19);
});

for (const [name, run] of Object.entries(runs)) {
  const isAdaptive = "d" in json[name];
  Deno.test(`${name}: ${run.optimizer} moves weights for 20 steps as the original package's does`, async () => {
    const golden = await goldenTensors(`${folder}trajectories`);
    const found = await trajectory({ device: await sharedDevice(), salt: 0, options: {} }, run);
    for (const tensor of ["a", "b", "c.step_20"]) {
      const wanted = golden.get(`${name}.${tensor}`)!, start = golden.get(`start.${tensor[0]}`)!.data;
      deepEqual(found.get(tensor)!.shape, wanted.shape);
      const moved = (values: ArrayLike<number>) => Float64Array.from(values, (v, i) => v - start[i % start.length]);
      const error = relativeError(moved(found.get(tensor)!.data), moved(wanted.data));
      ok(error <= (isAdaptive ? 1e-3 : 1e-4), `${tensor}: relative error ${error} of the movement`);
    }
    if (!isAdaptive) return;
    const d = found.get("d")!.data;
    for (const [step, wanted] of json[name].d.entries()) {
      const error = Math.abs(d[step] / wanted - 1);
      ok(error <= 1e-4, `d is ${d[step]} after step ${step + 1}, wanted ${wanted}`);
    }
  });
}

Deno.test("probeOptimizer() runs what options say, and names an optimizer that is not there", async () => {
  const device = await sharedDevice();
  const found = await probeOptimizer({ device, salt: 0, options: { optimizer: "lion", steps: 2, lr: 1e-3 } });
  deepEqual([...found.keys()], ["lion.a", "lion.b", "lion.c.step_2"]);
  await rejects(probeOptimizer({ device, salt: 0, options: { optimizer: "lyon" } }), {
    name: "RangeError",
    message: /^Cannot use optimizer "lyon": it is none of AdamW, /,
  });
});
