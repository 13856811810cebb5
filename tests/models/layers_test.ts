import { deepEqual, equal } from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { readTextEncoderConfig } from "../../models/clip/config.ts";
import { CLIPTextModel } from "../../models/clip/text_encoder.ts";
import { type LayerInfo, Source } from "../../models/source.ts";
import { readUNetConfig } from "../../models/unet/config.ts";
import { UNet2DConditionModel } from "../../models/unet/unet_2d_condition.ts";
import { AutoencoderKL } from "../../models/vae/autoencoder_kl.ts";
import { readVaeConfig } from "../../models/vae/config.ts";
import { Weights } from "../../models/weights.ts";
import { goldenConfig } from "./golden.ts";

/** Classes whose layers LoRA networks adapt, with conv_dim. */
const families = ["CLIPAttention", "CLIPMLP", "Transformer2DModel", "ResnetBlock2D", "Downsample2D", "Upsample2D"];

Deno.test("the models of SD v1.5 register sd-scripts' 350 LoRA modules in its order", async () => {
  const path = new URL("../golden/training/lora_modules.json", import.meta.url);
  const { modules } = JSON.parse(await readFile(path, "utf8"));
  const layers: LayerInfo[] = [];
  const source = (name: string) => new Source(new Weights(name), () => null, layers);
  new CLIPTextModel(source("text_encoder"), readTextEncoderConfig(await goldenConfig("text_encoder")));
  new UNet2DConditionModel(source("unet"), readUNetConfig(await goldenConfig("unet")));
  const found = layers.filter(({ family }) => families.includes(family));
  equal(found.length, 350);
  deepEqual(
    found.map(({ path, kind, inSize, outSize, kernel, stride }) => [path, kind, inSize, outSize, kernel, stride]),
    modules.map((module: Record<string, string | number>) => [
      module.path,
      module.kind === "conv" ? "conv2d" : module.kind,
      module.in,
      module.out,
      module.kernel,
      module.stride,
    ]),
  );
});

// Published sizes of SD v1.5's parts.
Deno.test("the models of SD v1.5 have its numbers of parameters", async () => {
  const textEncoder = new Weights("text_encoder"), unet = new Weights("unet"), vae = new Weights("vae");
  new CLIPTextModel(new Source(textEncoder), readTextEncoderConfig(await goldenConfig("text_encoder")));
  new UNet2DConditionModel(new Source(unet), readUNetConfig(await goldenConfig("unet")));
  new AutoencoderKL(new Source(vae), readVaeConfig(await goldenConfig("vae")));
  equal(textEncoder.parameterCount, 123_060_480);
  equal(unet.parameterCount, 859_520_964);
  equal(vae.parameterCount, 83_653_863);
});
