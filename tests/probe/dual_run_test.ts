import { equal } from "node:assert/strict";
import { weightByRule } from "../../formats/weights_by_rule.ts";
import { dualRunOptions, probeDualRun } from "../../tools/probe/dual.ts";
import { readOptions } from "../../tools/probe/options.ts";
import type { TensorSet } from "../../tools/probe/tensors.ts";
import {
  allGoldens,
  closeFigures,
  closeFingerprints,
  closeTensor,
  goldenJson,
  goldenTensors,
  startingWith,
  withTinyModels,
} from "./golden_tensors.ts";

const runs = ["both_train.clean", "both_train.original", "network_1_frozen.clean", "network_1_frozen.original"];

/** Weights minus those by rule that the run started from. */
function movement(found: TensorSet, start: string, k: number): Map<string, Float32Array> {
  return new Map(
    [...startingWith(found, start)].map(([name, data]) => {
      const factor = name.endsWith("lora_up.weight") ? Math.fround(0.7) : 1;
      const first = weightByRule(`lora${k}.${name}`, found.get(start + name)!.shape);
      return [name, Float32Array.from(data, (value, i) => value - Math.fround(first[i] * factor))];
    }),
  );
}

Deno.test("a run of 8 steps has the reference's figures at every step and its weights after steps 1, 4 and 8", async () => {
  const input = await goldenTensors("training/run/inputs");
  const { plain: names } = await goldenJson("training/dual_step/tensors");
  await withTinyModels(async (tiny) => {
    for (const run of allGoldens ? runs : runs.slice(0, 1)) {
      const json = await goldenJson(`training/run/${run}`), golden = await goldenTensors(`training/run/${run}`);
      const options = readOptions("dual-run", { ...json, save_steps: [1, 4, 8] }, dualRunOptions);
      const found = await probeDualRun({ ...tiny, options, input });
      equal(json.steps.length, 8);
      for (const { step, norm_1_at_clip, norm_2_at_clip, ...terms } of json.steps) {
        closeFigures(found, `step_${step}.terms.`, terms, 1e-4);
        closeFigures(found, `step_${step}.norms.`, { norm_1_at_clip, norm_2_at_clip }, 1e-3);
      }
      for (const name of golden.keys()) {
        const [, kind, k, step, tensor] = name.match(/^(movement\.)?network_(\d)\.step_(\d)\.?(.*)$/)!;
        const start = `step_${step}.network_${k}.`;
        if (!kind) closeTensor(found, start + tensor, golden, name, 1e-4);
        else {
          const moved = movement(found, start, Number(k));
          closeFingerprints(moved, names, golden.get(name)!.data, { norm: 5e-3, dot: 2e-2 });
        }
      }
      equal(startingWith(found, "step_8.network_1.").size > 0, !json.frozen, "a frozen network is not stored");
      if (run !== "both_train.clean") continue;
      const whole = await goldenTensors(`training/run/${run}.step_8`);
      for (const name of whole.keys()) closeTensor(found, `step_8.${name}`, whole, name, 1e-4);
    }
  });
});
