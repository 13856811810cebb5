import { deepEqual, equal, ok, throws } from "node:assert/strict";
import { join } from "node:path";
import { input, plan } from "../../engine/mod.ts";
import { type LoraFileModule, writeLora } from "../../formats/lora_file.ts";
import { weightByRule } from "../../formats/weights_by_rule.ts";
import { loraDelta, type LoraToMerge, mergeInto } from "../../lora/merge.ts";
import { LoraNetwork, type LoraOptions } from "../../lora/network.ts";
import * as d from "../../mod.ts";
import { BaseModel } from "../../models/base_model.ts";
import { fillWeights } from "../../models/load.ts";
import { loadBasesOn, openBases } from "../../steps/values/bases.ts";
import { toNchw, toNhwc } from "../../tools/probe/tensors.ts";
import { goldenPath, goldenTensors, relativeError, sharedDevice } from "../probe/golden_tensors.ts";
import { inNewFolder } from "../steps/small_training.ts";

const base = await BaseModel.open(goldenPath("training/tiny"));
const layers = { text_encoder: base.textLayers, unet: base.unetLayers };

/** The goldens' network 1 as modules of a file. */
function modulesByRule(options: LoraOptions): LoraFileModule[] {
  return new LoraNetwork("network 1", layers, options).modules.map(({ name, alpha, down, up }) => ({
    name,
    alpha,
    down: { shape: down.shape, values: Float32Array.from(weightByRule(`lora1.${down.name}`, down.shape)) },
    up: {
      shape: up.shape,
      values: Float32Array.from(weightByRule(`lora1.${up.name}`, up.shape), (value) => Math.fround(value * 0.7)),
    },
  }));
}

/** What the models compute with LoRA files merged into their weights. */
async function merged(loras: readonly LoraToMerge[]) {
  const device = await sharedDevice(), golden = await goldenTensors("training/lora_forward/tiny");
  const change = mergeInto(layers, loras);
  for (const [part, weights] of [["text_encoder", base.textWeights], ["unet", base.unetWeights]] as const) {
    await fillWeights(device, weights, ({ key, shape }) => {
      const values = weightByRule(`${part}.${key}`, shape);
      return change(part, key)?.(values) ?? values;
    });
  }
  const sample = toNhwc(golden.get("sample")!), ids = golden.get("input_ids")!, timesteps = golden.get("timesteps")!;
  const text = base.encode(input("ids", ids.shape, "i32"));
  const unet = base.denoise(input("sample", sample.shape), input("timesteps", timesteps.shape), text);
  const program = await device.compile(plan({ outputs: { text, unet } }));
  program.run({ ids: ids.data, sample: sample.data, timesteps: timesteps.data });
  const found = await program.read("text", "unet");
  device.release(program);
  base.free(device);
  return { text: found.text, unet: toNchw({ shape: unet.shape, data: found.unet as Float32Array }).data };
}

const variants: [string, LoraOptions, number][] = [
  ["rank_4", { rank: 4, alpha: 2 }, 1],
  ["rank_4_multiplier_0.5", { rank: 4, alpha: 2 }, 0.5],
  ["rank_4_conv_dim_4", { rank: 4, alpha: 2, convRank: 4, convAlpha: 1 }, 1],
];
for (const [name, options, multiplier] of variants) {
  Deno.test(`a base with a merged LoRA computes what the reference does beside it: ${name}`, async () => {
    const golden = await goldenTensors("training/lora_forward/tiny");
    const found = await merged([{ name, modules: modulesByRule(options), multiplier }]);
    for (const output of ["text", "unet"] as const) {
      const error = relativeError(found[output], golden.get(`${name}.${output}`)!.data);
      ok(error <= 1e-4, `${output}: relative error ${error}`);
    }
  });
}

Deno.test("LoRA files are merged one after another: half twice is the whole", async () => {
  const golden = await goldenTensors("training/lora_forward/tiny"), modules = modulesByRule({ rank: 4, alpha: 2 });
  const half = { name: "half", modules, multiplier: 0.5 };
  ok(relativeError((await merged([half, half])).unet, golden.get("rank_4.unet")!.data) <= 1e-4);
});

Deno.test("loraDelta() is multiplier · alpha / rank · up · down", () => {
  const down = { shape: [2, 3], values: Float32Array.of(1, 2, 3, 4, 5, 6) };
  const up = { shape: [2, 2], values: Float32Array.of(1, 0, 2, 1) };
  // up·down is [1 2 3] and [6 9 12]; the scale 3 · 1 / 2.
  deepEqual([...loraDelta({ down, up, alpha: 1 }, 3)], [1.5, 3, 4.5, 9, 13.5, 18]);
});

Deno.test("mergeInto() refuses modules of another kind of base model", () => {
  const [module] = modulesByRule({ rank: 4 });
  const merge = (other: LoraFileModule) => () =>
    mergeInto(layers, [{ name: "a.safetensors", modules: [other], multiplier: 1 }]);
  throws(merge({ ...module, name: "lora_unet_input_blocks_1_1_proj_in" }), {
    name: "RangeError",
    message:
      "Cannot merge a.safetensors: the base model has no layer for lora_unet_input_blocks_1_1_proj_in; was it made " +
      "for another kind of base model?",
  });
  throws(merge({ ...module, down: { shape: [4, 33], values: new Float32Array(132) } }), {
    message:
      `Cannot merge a.safetensors: ${module.name} is for a layer of 33 inputs and 32 outputs, the base model's has 32 and 32`,
  });
});

Deno.test("loadBases() merges LoRA files into the weights that it puts on the device", () =>
  inNewFolder(async (folder) => {
    const { network1: toy } = await openBases({ network1: "toy" }, {}), file = join(folder, "merged.safetensors");
    const lora = d.buildNetwork("network 1", toy, { rank: 1, parts: ["text_encoder"] }), { down, up } = lora.modules[0];
    await writeLora(file, [{
      name: lora.modules[0].name,
      alpha: 1,
      down: { shape: down.shape, values: new Float32Array(down.sizeElements).fill(1) },
      up: { shape: up.shape, values: new Float32Array(up.sizeElements).fill(2) },
    }]);
    const key = `${lora.modules[0].layer.path}.weight`, found: Float32Array[] = [];
    for (const merge of [[], [{ weights: file, multiplier: 0.25 }]]) {
      const loaded = await loadBasesOn({ network1: "toy", merge }, {}, { warn: () => {} });
      const { variable } = loaded.network1.textWeights.all.find((spec) => spec.key === key)!;
      found.push(await loaded.device.download(variable) as Float32Array);
      loaded.release();
    }
    found[1].forEach((value, i) => ok(Math.abs(value - found[0][i] - 0.5) < 1e-6));
    throws(() => d.loadBases({ network1: "toy", merge: [{ weights: file, multiplier: NaN }] }), {
      name: "TypeError",
      message: /^Cannot load bases: merge\[0\] is .*, must have weights, a file, and may have multiplier, a number$/,
    });
    const { steps } = await d.pipeline("merge").use(d.loadBases({ network1: "toy", merge: [{ weights: file }] }))
      .describe();
    equal(steps[0].lines.at(-1), `${file} is merged into it, times 1`);
  }));
