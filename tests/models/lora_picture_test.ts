import { join } from "node:path";
import { ok } from "node:assert/strict";
import { Device, SlotPool } from "../../engine/mod.ts";
import { readLora } from "../../formats/lora_file.ts";
import { LoraNetwork } from "../../lora/network.ts";
import { BaseModel } from "../../models/base_model.ts";
import { Tokenizer } from "../../models/clip/tokenizer.ts";
import { CompiledSampler } from "../../models/sampling.ts";
import { projectFolder } from "../../tools/project_files.ts";
import { toNhwc } from "../../tools/probe/tensors.ts";
import { goldenPath, goldenTensors, relativeError } from "../probe/golden_tensors.ts";

/** What the reference was sampled with: see tools/reference/models/make_lora_picture.py. */
const reference = {
  prompt: "pixel art portrait of a person, long blonde hair, red clothes, white background",
  seed: 5,
  settings: { sampler: "ddim", steps: 10, guidance: 3, width: 16, height: 16, batch: 1, tokenRows: 1 },
} as const;

Deno.test("a LoRA file as it is saved here makes diffusers paint what our own sampler paints, at full and half strength", async () => {
  using device = await Device.open();
  const folder = join(projectFolder, "assets", "toy", "base");
  const base = await BaseModel.open(folder), tokenizer = await Tokenizer.fromFolder(join(folder, "tokenizer"));
  await base.load(device);
  const file = await readLora(goldenPath("models/lora_picture_network.safetensors"));
  const values = new Map(file.modules.map((module) => [module.name, module]));
  const { alpha, down } = file.modules[0];
  const layers = { text_encoder: base.textLayers, unet: base.unetLayers };
  const network = new LoraNetwork("network", layers, { rank: down.shape[0], alpha });
  ok(network.modules.length === file.modules.length && network.modules.every(({ name }) => values.has(name)));
  device.upload(
    network.weights,
    network.flatten(({ name }) => {
      const module = values.get(name)!;
      return { down: module.down.values, up: module.up.values };
    }),
  );
  const golden = await goldenTensors("models/lora_picture");
  const ids = (prompt: string) => tokenizer.chunks(prompt, 75).flat();
  const paint = async (multiplier: number | null) => {
    const adapters = multiplier === null ? [] : [{
      textEncoder: network.adapters("text_encoder", { multiplier }),
      unet: network.adapters("unet", { multiplier }),
    }];
    const pool = new SlotPool(device);
    const sampler = await CompiledSampler.make(device, base, { ...reference.settings, adapters }, pool);
    const request = { promptIds: [ids(reference.prompt)], negativeIds: [ids("")], seeds: [reference.seed] };
    const [latents] = await sampler.sample(request);
    sampler.free();
    pool.dispose();
    return latents;
  };
  for (const [name, multiplier] of Object.entries({ base: null, lora: 1, half: 0.5 })) {
    const error = relativeError(await paint(multiplier), toNhwc(golden.get(`${name}.latents`)!).data);
    // Ten steps of a model that both compute in f32 to 1e-5 a step.
    ok(error <= 1e-3, `${name}: relative error ${error}`);
  }
});
