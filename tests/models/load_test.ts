import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { copyFile, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { readImage } from "../../data/image.ts";
import { Device, input, plan } from "../../engine/mod.ts";
import { encodeFloat32 } from "../../formats/element_types.ts";
import { SafetensorsFile, writeSafetensors } from "../../formats/safetensors.ts";
import { weightByRule } from "../../formats/weights_by_rule.ts";
import { BaseModel } from "../../models/base_model.ts";
import { localFolder } from "../../models/checkpoint/model_folder.ts";
import { folderPart, type PartFiles } from "../../models/checkpoint/part_files.ts";
import { fillWeightsByRule, loadWeights } from "../../models/load.ts";
import { ConfigReader } from "../../models/config_reader.ts";
import { Source } from "../../models/source.ts";
import { AutoencoderKL } from "../../models/vae/autoencoder_kl.ts";
import { readVaeConfig, type VaeConfig } from "../../models/vae/config.ts";
import { Weights } from "../../models/weights.ts";

const toy = fileURLToPath(new URL("../../assets/toy/base/", import.meta.url));
const picturePath = new URL("../../assets/toy/demo/character/10_sks person/000.png", import.meta.url);

async function toyVaeConfig(): Promise<VaeConfig> {
  return readVaeConfig(await ConfigReader.open(join(toy, "vae", "config.json")));
}

/** A model of one convolution, with its weights' folder. */
async function smallPart(tensors: Record<string, number[]>) {
  const folder = await Deno.makeTempDir();
  const path = join(folder, "diffusion_pytorch_model.safetensors");
  await writeSafetensors(
    path,
    Object.entries(tensors).map(([name, shape]) => ({
      name,
      type: "F32" as const,
      shape,
      bytes: encodeFloat32(weightByRule(name, shape), "F32"),
    })),
  );
  const weights = new Weights("vae");
  weights.tensor("conv.weight", [2, 3, 3, 3], "convolution");
  weights.tensor("mid_block.attentions.0.query.weight", [4, 4]);
  return { folder, weights };
}

/** A folder as a VAE's. */
async function partIn(folder: string): Promise<PartFiles> {
  return folderPart("vae", await localFolder(folder), "", { file: join(folder, "config.json"), json: null });
}

const conv = { "conv.weight": [2, 3, 3, 3] }, query = { "mid_block.attentions.0.query.weight": [4, 4] };

Deno.test("loadWeights() fills variables in the engine's layout and lists tensors it has no place for", async () => {
  using device = await Device.open();
  const { folder, weights } = await smallPart({ ...conv, ...query, "x.position_ids": [1], stranger: [2] });
  const { unknownKeys } = await loadWeights(device, weights, await partIn(folder));
  deepEqual(unknownKeys, ["stranger"]);
  const found = await device.download(weights.all[0].variable);
  const given = weightByRule("conv.weight", [2, 3, 3, 3]);
  // Out 1, in 2, row 0, column 1 lies at [0, 1, 2, 1].
  equal(found[(1 * 3 + 2) * 2 + 1], given[((1 * 3 + 2) * 3 + 0) * 3 + 1]);
});

Deno.test("loadWeights() takes the VAE's attention under its later names", async () => {
  using device = await Device.open();
  const { folder, weights } = await smallPart({ ...conv, "mid_block.attentions.0.to_q.weight": [4, 4] });
  const { unknownKeys } = await loadWeights(device, weights, await partIn(folder));
  deepEqual(unknownKeys, []);
  const found = await device.download(weights.all[1].variable);
  deepEqual([...found], [...weightByRule("mid_block.attentions.0.to_q.weight", [4, 4])]);
});

Deno.test("loadWeights() names file, weight, found and expected when a checkpoint does not fit", async () => {
  using device = await Device.open();
  const lacking = await smallPart(conv);
  await rejects(
    loadWeights(device, lacking.weights, await partIn(lacking.folder)),
    /diffusion_pytorch_model\.safetensors: it lacks mid_block\.attentions\.0\.query\.weight, expected with shape \[4, 4\]/,
  );
  const misshapen = await smallPart({ ...query, "conv.weight": [2, 3, 1, 1] });
  await rejects(loadWeights(device, misshapen.weights, await partIn(misshapen.folder)), {
    name: "TypeError",
    message: /conv\.weight has shape \[2, 3, 1, 1\], expected \[2, 3, 3, 3\]/,
  });
  const empty = await Deno.makeTempDir();
  await writeFile(join(empty, "notes.txt"), "");
  await rejects(
    loadWeights(device, lacking.weights, await partIn(empty)),
    /it holds notes\.txt, expected diffusion_pytorch_model\.safetensors or model\.safetensors/,
  );
});

Deno.test("fillWeightsByRule() rounds to the format that weights are stored in, and lays convolutions out", async () => {
  using device = await Device.open();
  const shape = [2, 3, 1, 2], values = weightByRule("unet.conv_in.weight", shape, 7);
  // [out, in, height, width] to [height, width, in, out]
  const laidOut = [0, 6, 2, 8, 4, 10, 1, 7, 3, 9, 5, 11].map((i) => values[i]);
  const expected = {
    f32: laidOut,
    f16: [...new Float16Array(laidOut)],
    bf16: [...new Uint16Array(encodeFloat32(Float32Array.from(laidOut), "BF16").buffer)],
  };
  for (const format of ["f32", "f16", "bf16"] as const) {
    const weights = new Weights("unet", format);
    weights.tensor("conv_in.weight", shape, "convolution");
    await fillWeightsByRule(device, weights, { salt: 7 });
    deepEqual([...await device.download(weights.all[0].variable)], expected[format]);
  }
});

Deno.test("BaseModel.open() refuses a folder whose prompt is as wide as the UNet does not expect", async () => {
  const folder = await Deno.makeTempDir();
  for (const part of ["unet", "text_encoder"]) {
    await mkdir(join(folder, part));
    await copyFile(join(toy, part, "config.json"), join(folder, part, "config.json"));
  }
  const path = join(folder, "text_encoder", "config.json");
  await writeFile(path, (await readFile(path, "utf8")).replace('"hidden_size": 48', '"hidden_size": 64'));
  await rejects(BaseModel.open(folder), /cross_attention_dim 48, but .*text_encoder\/config.json has hidden_size 64/);
  await rejects(BaseModel.open(join(folder, "nothing")), /Cannot load .*nothing: it is not there/);
});

Deno.test("the toy base's files hold exactly the weights that its configurations ask for", async () => {
  const base = await BaseModel.open(toy), vae = new Weights("vae");
  new AutoencoderKL(new Source(vae), await toyVaeConfig());
  for (const weights of [base.textWeights, base.unetWeights, vae]) {
    const name = weights === base.textWeights ? "model" : "diffusion_pytorch_model";
    await using file = await SafetensorsFile.open(join(toy, weights.name, `${name}.safetensors`));
    const expected = [...file.tensors.values()].filter(({ name }) => !name.endsWith(".position_ids"));
    const described = (entries: readonly { key: string; shape: readonly number[] }[]) =>
      entries.map(({ key, shape }) => `${key} [${shape}]`).sort();
    deepEqual(described(weights.all), described(expected.map(({ name, shape }) => ({ key: name, shape }))));
  }
});

Deno.test("the toy base's VAE gives back a picture that it encodes", async () => {
  using device = await Device.open();
  const weights = new Weights("vae"), vae = new AutoencoderKL(new Source(weights), await toyVaeConfig());
  deepEqual((await loadWeights(device, weights, await partIn(join(toy, "vae")))).unknownKeys, []);
  const picture = await readImage(fileURLToPath(picturePath));
  const image = Float32Array.from(picture.pixels, (level) => level / 127.5 - 1);
  const { mean } = vae.encode(input("image", [1, picture.height, picture.width, 3]));
  const compiled = await device.compile(plan({ outputs: { decoded: vae.decode(mean) } }));
  compiled.run({ image });
  const { decoded } = await compiled.read("decoded");
  const squares = image.map((value, i) => (Math.min(1, Math.max(-1, decoded[i])) - value) ** 2);
  const peakToNoise = 10 * Math.log10(4 / (squares.reduce((a, b) => a + b) / squares.length));
  console.log(`toy VAE: peak signal-to-noise ratio ${peakToNoise.toFixed(1)} dB`);
  // 50.7 dB; with the encoder padded on all sides 16 dB.
  ok(peakToNoise > 48, `peak signal-to-noise ratio is ${peakToNoise} dB`);
});
