import { deepEqual, equal, ok } from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";
import { openTensorFile } from "../formats/open_tensor_file.ts";
import { weightByRule } from "../formats/weights_by_rule.ts";
import { openCheckpoint } from "../models/checkpoint/checkpoint.ts";
import { OpenedPart, readElements } from "../models/checkpoint/opened_part.ts";
import * as d from "../mod.ts";
import { Weights } from "../models/weights.ts";
import { inNewFolder, keptNetwork, runRecorded, smallData } from "../tests/steps/small_training.ts";
import { checkpointLayouts, ldmTensorShapes, makeCheckpoint } from "./make_checkpoint.ts";

const config = fileURLToPath(new URL("../assets/toy/base", import.meta.url));
const keyMap = new URL("../tests/golden/files/key_map.json.gz", import.meta.url);

/** A row of the golden key map; `ldm_shape` where it is another in the original layout. */
interface KeyRow {
  readonly ldm: string;
  readonly shape: number[];
  readonly ldm_shape?: number[];
}

Deno.test("ldmTensorShapes() names the 1131 tensors of an SD v1.5 file, with their shapes", async () => {
  const { table }: { table: Record<string, KeyRow[]> } = JSON.parse(gunzipSync(await readFile(keyMap)).toString());
  const wanted = Object.values(table).flat().map(({ ldm, shape, ldm_shape }) => [ldm, ldm_shape ?? shape] as const);
  const byName = (a: readonly [string, unknown], b: readonly [string, unknown]) => (a[0] < b[0] ? -1 : 1);
  const found = await ldmTensorShapes();
  equal(found.size, 1131);
  deepEqual([...found].sort(byName), wanted.sort(byName));
});

/** Some weights of the toy base, by part. */
const some = {
  unet: [["conv_in.weight", [32, 4, 3, 3]], ["mid_block.resnets.0.norm1.weight", [96]]],
  text_encoder: [["text_model.final_layer_norm.bias", [48]]],
  vae: [["quant_conv.bias", [8]], ["encoder.mid_block.attentions.0.query.weight", [32, 32]]],
} as const;

for (const layout of checkpointLayouts) {
  Deno.test(`makeCheckpoint() writes weights by rule that load as a base model: ${layout}`, async () => {
    const path = join(await Deno.makeTempDir(), "model");
    let told = [0, 0];
    await makeCheckpoint(path, { layout, salt: 3, precision: "f16", config }, (...bytes) => told = bytes);
    equal(told[0], told[1]);
    const checkpoint = await openCheckpoint(path, layout === "diffusers" ? {} : { config });
    for (const part of [checkpoint.unet, checkpoint.textEncoder, checkpoint.vae!]) {
      const weights = new Weights(part.part);
      for (const [key, shape] of some[part.part]) weights.tensor(key, shape);
      await using opened = await OpenedPart.open(part);
      for (const [{ key, shape }, stored] of opened.find(weights)) {
        const values = Float32Array.from(await readElements(stored));
        deepEqual(values, new Float32Array(new Float16Array(weightByRule(`${part.part}.${key}`, shape, 3))), key);
      }
    }
  });
}

Deno.test("Both single files that makeCheckpoint() writes hold the same tensors, f32 as the rule has them", async () => {
  const folder = await Deno.makeTempDir(), hashes: string[][] = [];
  for (const layout of ["ldm-safetensors", "ldm-ckpt"] as const) {
    const path = join(folder, layout);
    await makeCheckpoint(path, { layout, salt: 0, precision: "f32", config });
    await using file = await openTensorFile(path);
    const name = "model.diffusion_model.input_blocks.0.0.bias";
    deepEqual(await file.float32(name), weightByRule("unet.conv_in.bias", [32]));
    const rows = [...file.tensors.values()].map(async ({ name, type, shape }) => {
      return `${name} ${type} ${shape} ${createHash("sha256").update(await file.bytes(name)).digest("hex")}`;
    });
    hashes.push((await Promise.all(rows)).sort());
  }
  deepEqual(hashes[0], hashes[1]);
});

Deno.test("The same training comes of all three layouts, bit for bit", () =>
  inNewFolder(async (folder) => {
    const data = await smallData(folder), kept: Pick<d.Network, "weights" | "log">[][] = [];
    for (const layout of checkpointLayouts) {
      const path = join(folder, layout), run = join(folder, `run ${layout}`);
      await makeCheckpoint(path, { layout, salt: 5, precision: "f32", config });
      const recipe = d.pipeline("layouts")
        .use(d.loadBases({ network1: path, ...(layout === "diffusers" ? {} : { config }) }))
        .use(d.readDreambooth({ ...data, resolution: 64, batchSize: 1 }))
        .use(d.cacheLatents())
        .use(d.trainBoth({ rank: 2, steps: 2, learningRate: 1e-3 }));
      const { error } = await runRecorded(recipe, { folder: run });
      if (error) throw error;
      const networks = ["network1", "network2"].map((name) => keptNetwork(run, "train-both-networks", name));
      // Metadata name the session, which is another each time.
      kept.push((await Promise.all(networks)).map(({ weights, log }) => ({ weights, log })));
    }
    ok(kept[0].every(({ weights }) => weights.some((weight) => weight !== 0)));
    deepEqual(kept[1], kept[0]);
    deepEqual(kept[2], kept[0]);
  }));
