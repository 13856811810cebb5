import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { optimizerGolden, probeOptimizer, shapes } from "../../tools/probe/optimizer.ts";
import { type OptimizerRun, parameterByRule, trajectory } from "../../tools/probe/trajectory.ts";
import type { NamedTensor, TensorSet } from "../../tools/probe/tensors.ts";
import { goldenJson, goldenTensors, relativeError, sharedDevice } from "./golden_tensors.ts";

const folder = "training/optimizers/";
const json = await goldenJson(`${folder}optimizers`);
const { runs } = optimizerGolden(json) as { runs: Readonly<Record<string, OptimizerRun>> };

Deno.test("the goldens' runs are all there", () => {
  deepEqual(Object.keys(json).filter((name) => !(name in runs)), ["adamw8bit"]);
  equal(Object.keys(runs).length, 23);
});

const golden = await goldenTensors(`${folder}trajectories`), layouts = await goldenTensors(`${folder}layouts`);

/** Throws unless a tensor has moved from its start, in all steps or the last, as the golden's. */
function closeMovement(name: string, found: NamedTensor, wanted: NamedTensor, start: ArrayLike<number>, limit: number) {
  const last = found.data.subarray(found.data.length - wanted.data.length);
  const moved = (values: ArrayLike<number>) => Float64Array.from(values, (v, i) => v - start[i % start.length]);
  const error = relativeError(moved(last), moved(wanted.data));
  ok(error <= limit, `${name}: relative error ${error} of the movement`);
}

function closeDistances(found: TensorSet, wanted: readonly number[]) {
  const { data } = found.get("d")!;
  for (const [step, d] of wanted.entries()) {
    ok(Math.abs(data[step] / d - 1) <= 1e-4, `d is ${data[step]} after step ${step + 1}, wanted ${d}`);
  }
}

const wholes = new Map<OptimizerRun, Promise<TensorSet>>();

/** Where 20 steps lead with the weights in one part; computed once for both tests of a run. */
async function whole(run: OptimizerRun): Promise<TensorSet> {
  const device = await sharedDevice();
  return await wholes.getOrInsertComputed(run, () => trajectory(device, run, { shapes, steps: 20, salt: 0 }));
}

for (const [name, run] of Object.entries(runs)) {
  const isAdaptive = "d" in json[name];
  Deno.test(`${name}: ${run.optimizer} moves weights for 20 steps as the original package's does`, async () => {
    const found = await whole(run);
    for (const tensor of ["a", "b", "c"]) {
      const wanted = golden.get(`${name}.${tensor === "c" ? "c.step_20" : tensor}`)!;
      closeMovement(tensor, found.get(tensor)!, wanted, golden.get(`start.${tensor}`)!.data, isAdaptive ? 1e-3 : 1e-4);
    }
    if (run.optimizer === "AdaFactor") {
      // The golden has a rate for each tensor; the first one's is logged.
      for (const [step, [wanted]] of json[name].lr.entries()) {
        const rate = found.get("learning_rate")!.data[step];
        ok(Math.abs(rate / wanted - 1) <= 1e-4, `the rate is ${rate} in step ${step + 1}, wanted ${wanted}`);
      }
    }
    if (isAdaptive) closeDistances(found, json[name].d);
  });
}

const layoutJson = await goldenJson(`${folder}layouts`);
const layoutRuns = {
  ...(optimizerGolden(layoutJson) as { runs: Readonly<Record<string, OptimizerRun>> }).runs,
  adamw8bit_layouts: { optimizer: "AdamW8bit", arguments: {}, lr: 1e-3 },
};
const convolutions = { e: [16, 32, 3, 3], f: [24, 5, 1, 1], g: [6, 40] };

for (const [name, run] of Object.entries(layoutRuns)) {
  for (const cuts of [[], ["f"], ["f", "g"]]) {
    Deno.test(`${name}: ${run.optimizer} moves convolutions as the original does, in ${cuts.length + 1} parts`, async () => {
      const found = await trajectory(await sharedDevice(), run, { shapes: convolutions, steps: 20, salt: 0, cuts });
      const isAdaptive = "d" in layoutJson[name];
      for (const [tensor, shape] of Object.entries(convolutions)) {
        const start = parameterByRule({ name: tensor, sizeElements: shape.reduce((a, b) => a * b) }, 0);
        const limit = isAdaptive || run.optimizer === "AdamW8bit" ? 1e-3 : 1e-4;
        closeMovement(tensor, found.get(tensor)!, layouts.get(`${name}.${tensor}`)!, start, limit);
      }
      if (isAdaptive) closeDistances(found, layoutJson[name].d);
    });
  }
}

for (const [name, run] of Object.entries(runs)) {
  Deno.test(`${name}: ${run.optimizer} moves weights in three parts as it does in one`, async () => {
    const found = await whole(run);
    const parted = await trajectory(await sharedDevice(), run, { shapes, steps: 20, salt: 0, cuts: ["b", "c"] });
    for (const tensor of ["a", "b", "c"]) {
      const start = golden.get(`start.${tensor}`)!.data;
      closeMovement(tensor, parted.get(tensor)!, found.get(tensor)!, start, 1e-4);
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
