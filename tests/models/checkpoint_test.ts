import { deepEqual, equal, match, notEqual, rejects, throws } from "node:assert/strict";
import { cp, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { decodeFloat32 } from "../../formats/element_types.ts";
import { type TensorData, writeSafetensors } from "../../formats/safetensors.ts";
import { writeTorchCheckpoint } from "../../formats/torch_checkpoint/writer.ts";
import { BaseModel } from "../../models/base_model.ts";
import { type Checkpoint, openCheckpoint } from "../../models/checkpoint/checkpoint.ts";
import type { PartName } from "../../models/checkpoint/ldm_keys.ts";
import { OpenedPart, readElements } from "../../models/checkpoint/opened_part.ts";
import type { PartFiles } from "../../models/checkpoint/part_files.ts";
import { recognizeFile } from "../../models/checkpoint/recognize.ts";
import { ConfigReader } from "../../models/config_reader.ts";
import { Source } from "../../models/source.ts";
import { AutoencoderKL } from "../../models/vae/autoencoder_kl.ts";
import { readVaeConfig } from "../../models/vae/config.ts";
import { VaeModel } from "../../models/vae_model.ts";
import { Weights } from "../../models/weights.ts";
import { layouts, ldmCheckpoint, ldmTensors, partNames, stranger, toyBase, toyTensors } from "./checkpoint_files.ts";

/** Runs a test in a folder that is gone afterwards. */
function inFolder(test: (folder: string) => Promise<void>): () => Promise<void> {
  return async () => {
    const folder = await Deno.makeTempDir({ prefix: "dualora-checkpoints-" });
    try {
      await test(folder);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  };
}

/** The weights that a base asks for, and the files that they are read from. */
async function partsOf(checkpoint: Checkpoint) {
  const { textWeights, unetWeights } = await BaseModel.open(checkpoint), vaeWeights = new Weights("vae");
  const config = checkpoint.vae!.config;
  new AutoencoderKL(new Source(vaeWeights), readVaeConfig(new ConfigReader(config.file, config.json)));
  return {
    text_encoder: { weights: textWeights, files: checkpoint.textEncoder },
    unet: { weights: unetWeights, files: checkpoint.unet },
    vae: { weights: vaeWeights, files: checkpoint.vae! },
  };
}

/** Elements of each weight of a part, by its key in the model, as f32; and the names that have no place. */
async function readPart({ weights, files }: { weights: Weights; files: PartFiles }) {
  await using opened = await OpenedPart.open(files);
  const found = opened.find(weights), elements = new Map<string, Float32Array>();
  for (const [{ key }, stored] of found) elements.set(key, new Float32Array(await readElements(stored)));
  return { elements, unknownKeys: opened.unknownKeys(found) };
}

const expected = Object.fromEntries(
  await Promise.all(partNames.map(async (part) => {
    const tensors = (await toyTensors(part)).filter(({ name }) => !name.endsWith(".position_ids"));
    return [part, new Map(tensors.map(({ name, type, bytes }) => [name, decodeFloat32(bytes, type)]))] as const;
  })),
) as Record<PartName, Map<string, Float32Array>>;

for (const [layout, write] of Object.entries(layouts)) {
  Deno.test(
    `openCheckpoint() finds the toy base's weights, all of them and no others, in ${layout}`,
    inFolder(async (folder) => {
      const checkpoint = await openCheckpoint(await write(join(folder, "base")), { config: toyBase });
      for (const [part, { weights, files }] of Object.entries(await partsOf(checkpoint))) {
        const { elements, unknownKeys } = await readPart({ weights, files });
        deepEqual(unknownKeys, []);
        equal(elements.size, expected[part as PartName].size);
        for (const [key, values] of elements) deepEqual(values, expected[part as PartName].get(key), `${part}.${key}`);
      }
    }),
  );
}

Deno.test(
  "a single file is read with SD v1.5's configuration, and shapes that do not fit it are named",
  inFolder(async (folder) => {
    const file = join(folder, "small.safetensors");
    await writeSafetensors(file, await ldmCheckpoint());
    const checkpoint = await openCheckpoint(file), base = await BaseModel.open(checkpoint);
    // SD v1.5 has 859,520,964 numbers in its UNet and 123,060,480 in its text encoder.
    equal(base.parameterCount, 859_520_964 + 123_060_480);
    equal(base.latentScale, 0.18215);
    await using opened = await OpenedPart.open(checkpoint.textEncoder);
    throws(() => opened.find(base.textWeights), {
      name: "TypeError",
      message:
        `Cannot load ${file}: cond_stage_model.transformer.text_model.embeddings.token_embedding.weight has shape [883, 48], ` +
        "expected [49408, 768]. Does it belong to SD v1.5's text_encoder/config.json?",
    });
  }),
);

Deno.test("a folder's own configurations count, and a note says so of those that are named beside it", async () => {
  deepEqual((await openCheckpoint(toyBase)).notes, []);
  deepEqual((await openCheckpoint(toyBase, { config: "elsewhere" })).notes, [
    `${toyBase} has configurations of its own: those of elsewhere (--base_config) are not read`,
  ]);
});

Deno.test("SD v1.5's configurations are those that the goldens were made with", async () => {
  for (const part of partNames) {
    const read = async (url: string) => JSON.parse(await readFile(new URL(url, import.meta.url), "utf8"));
    deepEqual(
      await read(`../../models/checkpoint/sd15/${part}.json`),
      await read(`../golden/models/${part}.config.json`),
    );
  }
});

/** Files that hold a VAE, in every layout; each gives its path. */
const vaeFiles: Record<string, (path: string) => Promise<string>> = {
  "a Diffusers folder": () => Promise.resolve(toyBase),
  "a VAE's own folder": () => Promise.resolve(join(toyBase, "vae")),
  "a .safetensors with diffusers' names": async (path) => {
    await writeSafetensors(path, await toyTensors("vae"));
    return path;
  },
  "a .ckpt with first_stage_model in front": async (path) => {
    await writeTorchCheckpoint(path, await ldmTensors("vae"), { within: "state_dict" });
    return path;
  },
  "a .pt without a prefix, with losses and EMA weights": async (path) => {
    const bare = (await ldmTensors("vae")).map((each) => ({
      ...each,
      name: each.name.replace("first_stage_model.", ""),
    }));
    const extras = [stranger("loss.discriminator.main.0.weight"), stranger("model_ema.decay", [])];
    await writeTorchCheckpoint(path, [...bare, ...extras], { within: "state_dict" });
    return path;
  },
  "a whole checkpoint": async (path) => {
    await writeSafetensors(path, await ldmCheckpoint());
    return path;
  },
};

for (const [kind, write] of Object.entries(vaeFiles)) {
  Deno.test(
    `openCheckpoint() takes another VAE from ${kind}, and its hash is that of the same numbers elsewhere`,
    inFolder(async (folder) => {
      const base = await folderWithoutVae(join(folder, "base")), vae = await write(join(folder, "vae.bin"));
      const checkpoint = await openCheckpoint(base, { vae });
      const { elements, unknownKeys } = await readPart((await partsOf(checkpoint)).vae);
      deepEqual(unknownKeys, []);
      for (const [key, values] of elements) deepEqual(values, expected.vae.get(key), key);
      equal(await VaeModel.contentHash(checkpoint), await VaeModel.contentHash(await openCheckpoint(toyBase)));
    }),
  );
}

/** The toy base without a VAE's weights: it is the one to be replaced. */
async function folderWithoutVae(path: string): Promise<string> {
  await cp(toyBase, path, { recursive: true });
  await writeSafetensors(join(path, "vae", "diffusion_pytorch_model.safetensors"), [stranger("replaced")]);
  return path;
}

Deno.test(
  "VaeModel.contentHash() changes with one number of the VAE",
  inFolder(async (folder) => {
    const tensors = await ldmTensors("vae"), file = join(folder, "vae.safetensors");
    const hash = async () => VaeModel.contentHash(await openCheckpoint(toyBase, { vae: file }));
    await writeSafetensors(file, tensors);
    const before = await hash();
    tensors[5].bytes[1] ^= 4;
    await writeSafetensors(file, tensors);
    notEqual(await hash(), before);
  }),
);

Deno.test(
  "the latent scale is the VAE configuration's",
  inFolder(async (folder) => {
    await cp(join(toyBase, "vae"), folder, { recursive: true });
    const path = join(folder, "config.json"), config = JSON.parse(await readFile(path, "utf8"));
    await writeFile(path, JSON.stringify({ ...config, scaling_factor: 0.25 }));
    equal((await BaseModel.open(toyBase)).latentScale, 0.18215);
    equal((await BaseModel.open(await openCheckpoint(toyBase, { vae: folder }))).latentScale, 0.25);
  }),
);

/** Files that are no base model, by what the refusal must call them. */
const others: Record<string, { tensors: () => TensorData[] | Promise<TensorData[]>; advice: RegExp }> = {
  "a LoRA file": {
    tensors: () => [stranger("lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight", [4, 32])],
    advice: /name the model it was trained on here/,
  },
  "a textual inversion embedding": { tensors: () => [stranger("emb_params", [2, 768])], advice: /no model/ },
  "a ControlNet": {
    tensors: () => [stranger("control_model.input_blocks.0.0.weight", [320, 4, 3, 3])],
    advice: /Name the base model/,
  },
  "an SDXL model": {
    tensors: () => [
      stranger("model.diffusion_model.input_blocks.0.0.weight", [4, 4, 3, 3]),
      stranger("conditioner.embedders.0.transformer.text_model.final_layer_norm.weight"),
    ],
    advice: /Only Stable Diffusion v1/,
  },
  "a Stable Diffusion 2.x model": {
    tensors: () => [
      stranger("model.diffusion_model.input_blocks.0.0.weight", [4, 4, 3, 3]),
      stranger("cond_stage_model.model.transformer.resblocks.0.ln_1.weight"),
    ],
    advice: /Only Stable Diffusion v1/,
  },
  "a Stable Diffusion 3 model": {
    tensors: () => [stranger("model.diffusion_model.joint_blocks.0.x_block.attn.qkv.weight")],
    advice: /Only Stable Diffusion v1/,
  },
  "a Flux model": {
    tensors: () => [stranger("double_blocks.0.img_attn.qkv.weight")],
    advice: /Only Stable Diffusion v1/,
  },
  "an inpainting model: its UNet takes 9 channels, an ordinary one 4": {
    tensors: async () => [
      ...(await ldmCheckpoint()).filter(({ name }) => !name.endsWith("input_blocks.0.0.weight")),
      stranger("model.diffusion_model.input_blocks.0.0.weight", [32, 9, 3, 3]),
    ],
    advice: /Name the ordinary model/,
  },
  "a VAE alone": { tensors: () => ldmTensors("vae"), advice: /as the VAE/ },
  "a UNet without a text encoder": { tensors: () => ldmTensors("unet"), advice: /whole checkpoint/ },
  "the UNet of a Diffusers folder": { tensors: () => toyTensors("unet"), advice: /Name the folder above/ },
  "the text encoder of a Diffusers folder": {
    tensors: () => toyTensors("text_encoder"),
    advice: /Name the folder above/,
  },
  'no kind of model known here: it has 1 tensors, such as "weight"': {
    tensors: () => [stranger("weight", [3])],
    advice: /Only Stable Diffusion v1/,
  },
};

for (const [what, { tensors, advice }] of Object.entries(others)) {
  Deno.test(
    `openCheckpoint() refuses a file that is ${what}, and says what to do`,
    inFolder(async (folder) => {
      const files = { safetensors: join(folder, "model.safetensors"), ckpt: join(folder, "model.ckpt") };
      await writeSafetensors(files.safetensors, await tensors());
      await writeTorchCheckpoint(files.ckpt, await tensors());
      for (const file of Object.values(files)) {
        await rejects(openCheckpoint(file), (error: Error) => {
          equal(error.message.startsWith(`Cannot use ${file} as the base model: it is ${what}. `), true, error.message);
          match(error.message, advice);
          return true;
        });
      }
    }),
  );
}

Deno.test("recognizeFile() knows LoRA files by the names of all that write them", () => {
  const names = [
    "lora_te_text_model_encoder_layers_0_mlp_fc1.alpha",
    "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.processor.to_q_lora.down.weight",
    "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.lora_A.weight",
    "text_encoder.text_model.encoder.layers.0.self_attn.q_proj.lora_linear_layer.up.weight",
    "lora_unet_mid_block_attentions_0_proj_in.hada_w1_a",
  ];
  for (const name of names) {
    const kind = recognizeFile({ tensors: new Map([[name, { name, type: "F32", shape: [4, 4], sizeBytes: 64 }]]) });
    equal(kind.kind === "other" && kind.what, "a LoRA file", name);
  }
});

Deno.test(
  "openCheckpoint() refuses an embedding as the WebUI saves it",
  inFolder(async (folder) => {
    const file = join(folder, "style.pt");
    await writeTorchCheckpoint(file, [stranger("*", [2, 768])], { within: "string_to_param" });
    await rejects(openCheckpoint(file), /it is a textual inversion embedding\. /);
  }),
);

/** Changes to the toy base's folder that make it another kind of model. */
const otherFolders: Record<string, (folder: string) => Promise<void>> = {
  "an SDXL model": (folder) => change(join(folder, "model_index.json"), { _class_name: "StableDiffusionXLPipeline" }),
  "a Stable Diffusion 2.x model": (folder) =>
    change(join(folder, "unet", "config.json"), { cross_attention_dim: 1024 }),
  "an inpainting model: its UNet takes 9 channels, an ordinary one 4": (folder) =>
    change(join(folder, "unet", "config.json"), { in_channels: 9 }),
  "a model with a transformer instead of a UNet (StableDiffusion3Pipeline)": async (folder) => {
    await change(join(folder, "model_index.json"), { _class_name: "StableDiffusion3Pipeline" });
    await cp(join(folder, "unet"), join(folder, "transformer"), { recursive: true });
  },
};

async function change(file: string, options: Record<string, unknown>): Promise<void> {
  await writeFile(file, JSON.stringify({ ...JSON.parse(await readFile(file, "utf8")), ...options }));
}

for (const [what, make] of Object.entries(otherFolders)) {
  Deno.test(
    `openCheckpoint() refuses a folder that is ${what}`,
    inFolder(async (folder) => {
      await cp(toyBase, folder, { recursive: true });
      await make(folder);
      await rejects(openCheckpoint(folder), (error: Error) => {
        equal(
          error.message.startsWith(`Cannot use ${folder} as the base model: it is ${what}. Only Stable`),
          !what.includes("channels"),
        );
        equal(error.message.includes(what), true, error.message);
        return true;
      });
    }),
  );
}

Deno.test(
  "openCheckpoint() points to the files of a folder that is no Diffusers folder",
  inFolder(async (folder) => {
    const wanted =
      `Cannot load ${folder}: it has no unet/config.json; wanted a Diffusers folder with text_encoder, unet, vae, tokenizer`;
    await rejects(openCheckpoint(folder), { message: wanted });
    await writeFile(join(folder, "v1-5-pruned.ckpt"), "");
    await rejects(openCheckpoint(folder), { message: `${wanted}; or name one of its files, such as v1-5-pruned.ckpt` });
  }),
);

Deno.test(
  "openCheckpoint() says what another VAE lacks",
  inFolder(async (folder) => {
    const vae = join(folder, "vae.safetensors");
    await writeSafetensors(vae, [stranger("lora_unet_mid.lora_down.weight")]);
    await rejects(openCheckpoint(toyBase, { vae }), {
      message: `Cannot load the VAE ${vae}: it is a LoRA file; wanted a VAE's file or folder, or a checkpoint with one`,
    });
    await rejects(
      openCheckpoint(toyBase, { vae: join(toyBase, "unet") }),
      /Cannot use .*unet\/config\.json: down_block_types/,
    );
    await rejects(openCheckpoint(toyBase, { vae: folder }), /it has neither vae\/config\.json nor config\.json/);
  }),
);
