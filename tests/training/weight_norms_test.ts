import { equal, ok } from "node:assert/strict";
import { haltUnlessFinite, input, plan } from "../../engine/mod.ts";
import { uniformByRule } from "../../formats/weights_by_rule.ts";
import { LoraNetwork } from "../../lora/network.ts";
import type { LayerInfo } from "../../models/source.ts";
import { haltFlag } from "../../training/step_graph.ts";
import { limitWeightNorms, weightNormLimit } from "../../training/weight_norms.ts";
import { goldenJson, goldenTensors, relativeError, sharedDevice } from "../probe/golden_tensors.ts";

const json = await goldenJson("training/max_norm"), golden = await goldenTensors("training/max_norm");

/** The golden's modules, each with its own rank and alpha. */
function network(): LoraNetwork {
  const layers = Object.entries(json.modules as Record<string, { down: number[]; up: number[] }>).map(
    ([name, { down, up }]): LayerInfo => ({
      path: name.replace("lora_unet_", ""),
      kind: down.length > 2 ? "conv2d" : "linear",
      inSize: down[1],
      outSize: up[0],
      kernel: down[2] ?? 0,
      stride: down[2] ? 1 : 0,
      family: "Transformer2DModel",
    }),
  );
  return new LoraNetwork("network 1", { unet: layers }, { rank: 1, modules: json.modules });
}

for (const { limit, keys_scaled, average_key_norm, max_key_norm } of json.cases) {
  for (const figure of [0, NaN]) {
    Deno.test(`limitWeightNorms() at ${limit} is sd-scripts', unless a figure of the step is ${figure}`, async () => {
      const device = await sharedDevice(), lora = network(), setting = weightNormLimit(lora, limit), flag = haltFlag();
      const start = lora.flatten(({ name, down, up }) => ({
        down: uniformByRule(`max_norm.${name}.lora_down`, down.sizeElements),
        up: uniformByRule(`max_norm.${name}.lora_up`, up.sizeElements),
      }));
      device.upload(lora.weights, start);
      for (const [variable, values] of setting.initial) device.upload(variable, values);
      const halted = haltUnlessFinite(flag.tensor, input("figure", [1]));
      const { effects, figures } = limitWeightNorms(setting, lora.weights.tensor, halted);
      const program = await device.compile(plan({ effects, outputs: figures }));
      program.run({ figure: [figure] });
      const found = await program.read(...Object.keys(figures));
      const weights = await device.download(lora.weights) as Float32Array;
      if (Number.isNaN(figure)) {
        equal(relativeError(weights, start), 0);
      } else {
        for (const [{ name }, { down, up }] of lora.unflatten(weights)) {
          for (const [which, values] of Object.entries({ lora_down: down, lora_up: up })) {
            const error = relativeError(values, golden.get(`${limit.toFixed(1)}.${name}.${which}.weight`)!.data);
            ok(error <= 1e-5, `${name}.${which}: relative error ${error}`);
          }
        }
        equal(found.keys_scaled[0], keys_scaled);
        ok(Math.abs(found.average_key_norm[0] / average_key_norm - 1) <= 1e-5);
        ok(Math.abs(found.max_key_norm[0] / max_key_norm - 1) <= 1e-5);
      }
      device.release(program);
      device.free([lora.weights, flag, setting.table, setting.scales, setting.norms]);
    });
  }
}
