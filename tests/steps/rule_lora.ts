import { weightByRule } from "../../formats/weights_by_rule.ts";
import { type LoraFileModule, writeLora } from "../../formats/lora_file.ts";
import { LoraNetwork, type LoraOptions } from "../../lora/network.ts";
import { BaseModel } from "../../models/base_model.ts";
import { toy } from "../../steps/values/toy.ts";

/** Writes a LoRA file for the toy, its weights by rule: not trained, and strong enough to be seen. */
export async function writeRuleLora(
  path: string,
  { salt, factor = 0.3, options = { rank: 2 } }: { salt: number; factor?: number; options?: LoraOptions },
): Promise<LoraFileModule[]> {
  const base = await BaseModel.open(toy.base);
  const { modules } = new LoraNetwork("network", { text_encoder: base.textLayers, unet: base.unetLayers }, options);
  const made = modules.map(({ name, alpha, down, up }): LoraFileModule => ({
    ...{ name, alpha },
    down: { shape: down.shape, values: weightByRule(down.name, down.shape, salt) },
    up: { shape: up.shape, values: weightByRule(up.name, up.shape, salt).map((value) => factor * value) },
  }));
  await writeLora(path, made);
  return made;
}
