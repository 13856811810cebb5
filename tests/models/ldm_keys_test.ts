import { deepEqual, equal, throws } from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { gunzipSync } from "node:zlib";
import {
  laterKey,
  ldmKey,
  ldmPrefixes,
  ldmShape,
  type LdmSizes,
  type PartName,
} from "../../models/checkpoint/ldm_keys.ts";
import { readTextEncoderConfig } from "../../models/clip/config.ts";
import { CLIPTextModel } from "../../models/clip/text_encoder.ts";
import { ConfigReader } from "../../models/config_reader.ts";
import { Source } from "../../models/source.ts";
import { readUNetConfig } from "../../models/unet/config.ts";
import { UNet2DConditionModel } from "../../models/unet/unet_2d_condition.ts";
import { AutoencoderKL } from "../../models/vae/autoencoder_kl.ts";
import { readVaeConfig } from "../../models/vae/config.ts";
import { Weights } from "../../models/weights.ts";

interface Row {
  ldm: string;
  diffusers: string;
  shape: number[];
  ldm_shape?: number[];
  diffusers_newer?: string;
}

// sd-scripts v0.6.4's converters, run in both directions over all tensors of SD v1.5.
const golden: { prefixes: Record<PartName, string>; table: Record<PartName, Row[]> } = JSON.parse(
  gunzipSync(await readFile(new URL("../golden/files/key_map.json.gz", import.meta.url))).toString("utf8"),
);

const config = (part: string) =>
  ConfigReader.open(new URL(`../golden/models/${part}.config.json`, import.meta.url).pathname);
const text = readTextEncoderConfig(await config("text_encoder"));
const unet = readUNetConfig(await config("unet")), vae = readVaeConfig(await config("vae"));
const sizes: LdmSizes = { unet, vae };

/** Every weight that a model of SD v1.5's configuration asks for, as the key map's rows. */
function rowsOf(part: PartName): Row[] {
  const weights = new Weights(part), source = new Source(weights);
  if (part === "unet") new UNet2DConditionModel(source, unet);
  else if (part === "vae") new AutoencoderKL(source, vae);
  else new CLIPTextModel(source, text);
  return weights.all.map(({ key, shape }) => {
    const turned = ldmShape(part, key, shape), later = laterKey(part, key);
    return {
      ldm: ldmKey(part, key, sizes),
      diffusers: key,
      shape: [...shape],
      ...(turned.length === shape.length ? {} : { ldm_shape: [...turned] }),
      ...(later === null ? {} : { diffusers_newer: later }),
    };
  });
}

/** The rows without position_ids, which holds 0 to 76 and is no weight. */
const goldenRows = (part: PartName) =>
  golden.table[part].filter(({ diffusers }) => !diffusers.endsWith(".position_ids"));

const parts = ["text_encoder", "unet", "vae"] as const;

Deno.test("names and shapes in both layouts equal sd-scripts' converters, both ways, for all weights of SD v1.5", () => {
  for (const part of parts) {
    const found = rowsOf(part), expected = goldenRows(part);
    equal(found.length, expected.length);
    for (const by of ["diffusers", "ldm"] as const) {
      const byName = (rows: Row[]) => new Map(rows.map((row) => [row[by], row]));
      equal(byName(found).size, found.length);
      deepEqual(byName(found), byName(expected));
    }
  }
});

Deno.test("the key map's prefixes and position_ids are those of ldmPrefixes and ldmKey()", () => {
  deepEqual(ldmPrefixes, golden.prefixes);
  const [ids] = golden.table.text_encoder.filter(({ diffusers }) => diffusers.endsWith(".position_ids"));
  equal(ldmKey("text_encoder", ids.diffusers, sizes), ids.ldm);
});

Deno.test("ldmKey() numbers the blocks of smaller models by their own sizes", () => {
  // By hand: one block a level, so two numbers a level on each way; the topmost level on the way up has attention in front of its upsampler.
  const level = (attention: boolean) => ({ size: 32, attentionDown: attention, attentionUp: attention });
  const small: LdmSizes = {
    unet: { levels: [level(true), level(true), level(false)], layersPerBlock: 1 },
    vae: { widths: [8, 16] },
  };
  const unet = {
    "down_blocks.1.resnets.0.conv2.weight": "input_blocks.3.0.out_layers.3.weight",
    "down_blocks.1.downsamplers.0.conv.weight": "input_blocks.4.0.op.weight",
    "up_blocks.0.upsamplers.0.conv.bias": "output_blocks.1.1.conv.bias",
    "up_blocks.1.upsamplers.0.conv.bias": "output_blocks.3.2.conv.bias",
    "up_blocks.2.attentions.1.proj_in.weight": "output_blocks.5.1.proj_in.weight",
  };
  for (const [key, name] of Object.entries(unet)) equal(ldmKey("unet", key, small), `model.diffusion_model.${name}`);
  equal(
    ldmKey("vae", "decoder.up_blocks.0.resnets.1.norm1.bias", small),
    "first_stage_model.decoder.up.1.block.1.norm1.bias",
  );
});

Deno.test("ldmKey() refuses names that no model has", () => {
  for (const key of ["up_blocks.0.resnets.0.conv3.weight", "down_blocks.0.motion.0.x", "conv_in", "toString.weight"]) {
    throws(() => ldmKey("unet", key, sizes), { name: "RangeError", message: new RegExp(`Cannot name unet\\.${key}`) });
  }
  throws(() => ldmKey("vae", "encoder.mid_block.attentions.0.to_q.weight", sizes), /Cannot name vae/);
});
