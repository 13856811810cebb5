/**
 * The LoRA file and the noise that make_lora_picture.py starts from: `deno run -A tools/launch.ts tools/reference/models/make_lora_picture_inputs.ts`.
 *
 * Weights by rule for the small base, rank 2, alpha 1, as this project saves them; the noise is what its sampler draws for seed 5.
 */
import { Buffer } from "node:buffer";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Device, input, plan, randomNormal } from "../../../engine/mod.ts";
import { serializeLora } from "../../../formats/lora_file.ts";
import { writeSafetensors } from "../../../formats/safetensors.ts";
import { weightByRule } from "../../../formats/weights_by_rule.ts";
import { LoraNetwork } from "../../../lora/network.ts";
import { BaseModel } from "../../../models/base_model.ts";
import { projectFolder } from "../../project_files.ts";

const out = join(projectFolder, "tests", "golden", "models");
const base = await BaseModel.open(join(projectFolder, "assets", "toy", "base"));
const network = new LoraNetwork("network", { text_encoder: base.textLayers, unet: base.unetLayers }, { rank: 2, alpha: 1 });
const modules = network.modules.map(({ name, alpha, down, up }) => ({
  name,
  alpha,
  down: { shape: down.shape, values: weightByRule(`lora1.${down.name}`, down.shape, 0) },
  up: { shape: up.shape, values: weightByRule(`lora1.${up.name}`, up.shape, 0).map((value) => value * 0.2) },
}));
await writeFile(join(out, "lora_picture_network.safetensors"), Buffer.concat(serializeLora(modules, { precision: "fp16" })));
using device = await Device.open();
const compiled = await device.compile(plan({ outputs: { noise: randomNormal(input("key", [4], "u32"), { shape: [1, 16, 16, 4] }) } }));
compiled.run({ key: [5, 0, 300, 0] });
const { noise } = await compiled.read("noise");
await writeSafetensors(join(out, "lora_picture_noise.safetensors"), [{ name: "noise", type: "F32", shape: [1, 16, 16, 4], bytes: new Uint8Array(noise.buffer.slice(0) as ArrayBuffer) }]);
