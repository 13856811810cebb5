import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { join } from "node:path";
import { type LoraFileModule, readLora, writeLora } from "../../../formats/lora_file.ts";
import { uniformByRule } from "../../../formats/weights_by_rule.ts";
import { clampTogether } from "../../../lora/extract.ts";
import { loraDelta } from "../../../lora/merge.ts";
import { planModules } from "../../../lora/module_plan.ts";
import { BaseModel } from "../../../models/base_model.ts";
import { extractLora } from "../../../steps/lora_tools/extract.ts";
import { mergeLorasIntoBase } from "../../../steps/lora_tools/merge.ts";
import { toy } from "../../../steps/values/toy.ts";
import { inNewFolder } from "../small_training.ts";

/** A LoRA of rank 2 on some layers of the small base model. */
async function someModules(parts: readonly string[]): Promise<LoraFileModule[]> {
  const { textLayers, unetLayers } = await BaseModel.open(toy.base);
  const planned = planModules("a", { text_encoder: textLayers, unet: unetLayers }, { rank: 2, convRank: 2 });
  const some = planned.filter(({ part, layer }, i) => parts.includes(part) && (i % 5 === 0 || layer.kernel === 3));
  return some.map(({ name, layer: { inSize, outSize, kernel } }) => {
    const down = [2, inSize, ...(kernel ? [kernel, kernel] : [])], up = [outSize, 2, ...(kernel ? [1, 1] : [])];
    const filled = (shape: number[], end: string) => ({
      shape,
      values: uniformByRule(`${name}.${end}`, shape.reduce((a, b) => a * b)),
    });
    return { name, alpha: 1, down: filled(down, "down"), up: filled(up, "up") };
  });
}

Deno.test("a LoRA that was merged into a base is extracted again: the same changes of weights", () =>
  inNewFolder(async (folder) => {
    const [lora, output] = ["lora", "extracted"].map((each) => join(folder, `${each}.safetensors`));
    const tuned = join(folder, "tuned"), modules = await someModules(["text_encoder", "unet"]);
    await writeLora(lora, modules);
    await mergeLorasIntoBase("toy", [{ file: lora, ratio: 1 }], tuned, { precision: "float" });
    const found = await extractLora("toy", tuned, output, { rank: 2, convRank: 2, clampQuantile: 1 });
    const extracted = await readLora(output);
    deepEqual([found.modules, found.hasTextEncoder], [modules.length, true]);
    const byName = new Map(extracted.modules.map((module) => [module.name, module]));
    for (const module of modules) {
      const [before, after] = [module, byName.get(module.name)!].map((each) => loraDelta(each, 1));
      deepEqual([byName.get(module.name)!.down.shape, byName.get(module.name)!.alpha], [module.down.shape, 2]);
      // What rounding the sum with the weight to f32 leaves.
      before.forEach((value, i) => ok(Math.abs(value - after[i]) < 2e-6, `${module.name}: ${value}, ${after[i]}`));
    }
    equal(extracted.metadata.get("ss_network_dim"), "2");
  }));

Deno.test("text encoders that are nearly the same are left out, and equal models refused", () =>
  inNewFolder(async (folder) => {
    const [lora, output] = ["lora", "extracted"].map((each) => join(folder, `${each}.safetensors`));
    const tuned = join(folder, "tuned");
    await writeLora(lora, await someModules(["text_encoder", "unet"]));
    await mergeLorasIntoBase("toy", [{ file: lora, ratio: 1e-3 }], tuned, { precision: "float" });
    const { hasTextEncoder } = await extractLora("toy", tuned, output, { rank: 2 });
    equal(hasTextEncoder, false);
    ok((await readLora(output)).modules.every(({ name }) => name.startsWith("lora_unet_")));
    equal((await extractLora("toy", tuned, output, { rank: 2, minDiff: 0 })).hasTextEncoder, true);
    await rejects(
      extractLora("toy", "toy", output, { rank: 2 }),
      /its weights are those of toy, so there is nothing to extract/,
    );
    await rejects(
      extractLora("toy", tuned, output, { rank: 2, clampQuantile: 0 }),
      /clampQuantile is 0, must be above 0\.5/,
    );
  }));

Deno.test("factors are cut off at the quantile of all their elements, interpolated, on both sides", () => {
  // numpy.quantile([-9, 0, 1, 2, 8], 0.9) = 5.6, as torch.quantile.
  const [up, down] = [Float32Array.of(-9, 1, 2), Float32Array.of(0, 8)];
  clampTogether([up, down], 0.9);
  deepEqual([[...up], [...down]], [[Math.fround(-5.6), 1, 2], [0, Math.fround(5.6)]]);
});
