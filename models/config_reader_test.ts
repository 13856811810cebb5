import { deepEqual, rejects, throws } from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { readTextEncoderConfig } from "./clip/config.ts";
import { ConfigReader, readConfigJson } from "./config_reader.ts";
import { readUNetConfig } from "./unet/config.ts";
import { readVaeConfig } from "./vae/config.ts";

const unet = {
  _class_name: "UNet2DConditionModel",
  attention_head_dim: 8,
  block_out_channels: [32, 64],
  cross_attention_dim: 48,
  down_block_types: ["CrossAttnDownBlock2D", "DownBlock2D"],
  layers_per_block: 1,
  norm_num_groups: 32,
  up_block_types: ["UpBlock2D", "CrossAttnUpBlock2D"],
};

Deno.test("readUNetConfig() gives each level its width and its transformers", () => {
  deepEqual(readUNetConfig(new ConfigReader("config.json", unet)), {
    levels: [
      { size: 32, attentionDown: true, attentionUp: true },
      { size: 64, attentionDown: false, attentionUp: false },
    ],
    layersPerBlock: 1,
    latentSize: 4,
    contextSize: 48,
    heads: 8,
    groups: 32,
    epsilon: 1e-5,
    waves: { flipSinToCos: true, frequencyShift: 0 },
  });
});

const refused: [Record<string, unknown>, RegExp][] = [
  [{ in_channels: 9 }, /unet\/config\.json: in_channels is 9, supported: 4$/],
  [{ use_linear_projection: true }, /use_linear_projection is true, supported: false$/],
  [{ dual_cross_attention: true }, /dual_cross_attention is true, supported: false$/],
  [{ class_embed_type: "timestep" }, /class_embed_type is "timestep", supported: none$/],
  [{ num_class_embeds: 10 }, /num_class_embeds is 10, supported: none$/],
  [
    { down_block_types: ["AttnDownBlock2D", "DownBlock2D"] },
    /down_block_types is "AttnDownBlock2D", supported: "Cross/,
  ],
  [{ down_block_types: ["DownBlock2D"] }, /down_block_types is \["DownBlock2D"\], expected a list of 2$/],
  [{ attention_head_dim: [5, 10] }, /attention_head_dim is \[5,10\], expected a whole number from 1 to \d+$/],
  [{ cross_attention_dim: null }, /cross_attention_dim is null, expected a whole number from 1 to \d+$/],
  [{ block_out_channels: [32, 48] }, /block_out_channels is 48, expected multiples of norm_num_groups, 32$/],
  [{ layers_per_block: 1e9 }, /layers_per_block is 1000000000, expected a whole number from 1 to 64$/],
  [{ cross_attention_dim: 2 ** 40 }, /cross_attention_dim is 1099511627776, expected a whole number from 1 to \d+$/],
  [{ layers_per_block: 1.5 }, /layers_per_block is 1.5, expected a whole number from 1 to \d+$/],
  [{ encoder_hid_dim: 2048 }, /unknown option encoder_hid_dim is 2048/],
];

for (const [change, message] of refused) {
  Deno.test(`readUNetConfig() refuses ${JSON.stringify(change)}`, () => {
    throws(() => readUNetConfig(new ConfigReader("unet/config.json", { ...unet, ...change })), { message });
  });
}

Deno.test("readVaeConfig() refuses other kinds of VAE", () => {
  const vae = {
    block_out_channels: [16, 32],
    down_block_types: ["DownEncoderBlock2D", "DownEncoderBlock2D"],
    layers_per_block: 1,
    norm_num_groups: 4,
    up_block_types: ["UpDecoderBlock2D", "UpDecoderBlock2D"],
  };
  const read = (change: object) => readVaeConfig(new ConfigReader("vae/config.json", { ...vae, ...change }));
  deepEqual(read({}), { widths: [16, 32], layersPerBlock: 1, groups: 4, latentSize: 4, scalingFactor: 0.18215 });
  throws(() => read({ latent_channels: 16 }), { message: /latent_channels is 16, supported: 4$/ });
  throws(() => read({ shift_factor: 0.1 }), { message: /unknown option shift_factor is 0.1/ });
});

Deno.test("readTextEncoderConfig() refuses activations other than CLIP's", () => {
  const options = {
    hidden_act: "relu",
    hidden_size: 48,
    intermediate_size: 192,
    max_position_embeddings: 77,
    num_attention_heads: 4,
    num_hidden_layers: 12,
    vocab_size: 883,
  };
  throws(() => readTextEncoderConfig(new ConfigReader("text_encoder/config.json", options)), {
    name: "RangeError",
    message: 'Cannot use text_encoder/config.json: hidden_act is "relu", supported: "quick_gelu", "gelu"',
  });
});

Deno.test("ConfigReader refuses what is not an object", () => {
  throws(() => new ConfigReader("config.json", [1]), {
    name: "TypeError",
    message: /it holds \[1\], expected an object/,
  });
});

Deno.test("readConfigJson() refuses names that stand twice, endless nesting, and files that are no configuration's size", async () => {
  const file = join(await Deno.makeTempDir(), "config.json");
  const cases: [string, string, RegExp][] = [
    [
      '{"sample_size": 1, "sample_size": 2}',
      "SyntaxError",
      /config\.json: not JSON: The name "sample_size" stands twice/,
    ],
    ["[".repeat(100_000), "SyntaxError", /config\.json: not JSON: More than 64 levels/],
    [`{"a": "${"x".repeat(2 ** 20)}"}`, "RangeError", /config\.json: it has 1048585 bytes, more than the 1048576/],
  ];
  for (const [text, name, message] of cases) {
    await writeFile(file, text);
    await rejects(readConfigJson(file), { name, message });
  }
});
