import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import { copyFile } from "node:fs/promises";
import { join } from "node:path";
import { type LoraFileModule, readLora, writeLora } from "../../../formats/lora_file.ts";
import { loraDelta } from "../../../lora/merge.ts";
import { convertLora } from "../../../steps/lora_tools/convert.ts";
import { inspectionText, inspectLora } from "../../../steps/lora_tools/inspect.ts";
import { runCommandLine } from "../../../cli/main.ts";
import { goldenPath } from "../../probe/golden_tensors.ts";
import { inNewFolder } from "../small_training.ts";

/** up·down is [[3, 4], [6, 8]], its norm √(9 + 16 + 36 + 64) = √125; times alpha / rank. */
const module: LoraFileModule = {
  name: "lora_unet_up_blocks_3_attentions_2_proj_out",
  down: { shape: [1, 2], values: Float32Array.of(3, 4) },
  up: { shape: [2, 1], values: Float32Array.of(1, 2) },
  alpha: 0.5,
};

Deno.test("inspectLora() gives rank, alpha, block and norm of each module", () =>
  inNewFolder(async (folder) => {
    const file = join(folder, "a.safetensors");
    const rank2 = {
      name: "lora_te_text_model_encoder_layers_0_mlp_fc1",
      down: { shape: [2, 2], values: Float32Array.of(1, 0, 0, 1) },
      up: { shape: [2, 2], values: Float32Array.of(3, 0, 0, 4) },
      alpha: 2,
    };
    await writeLora(file, [module, rank2]);
    const { modules, parts, blocks, sizes } = await inspectLora(file);
    const byName = new Map(modules.map((each) => [each.name, each]));
    const unet = byName.get(module.name)!, text = byName.get(rank2.name)!;
    deepEqual([unet.block, unet.rank, unet.alpha, unet.kind], ["OUT11", 1, 0.5, "linear"]);
    ok(Math.abs(unet.norm - 0.5 * Math.sqrt(125)) < 1e-12);
    ok(Math.abs(text.norm - 5) < 1e-12);
    deepEqual(blocks.map(({ name, modules }) => [name, modules]), [["BASE", 1], ["OUT11", 1]]);
    deepEqual(parts.map(({ name }) => name).toSorted(), ["text_encoder", "unet"]);
    deepEqual(sizes.map(({ rank, alpha, modules }) => [rank, alpha, modules]).toSorted(), [[1, 0.5, 1], [2, 2, 1]]);
  }));

Deno.test("a module's norm is that of the change it makes, of linear layers and convolutions", async () => {
  const path = goldenPath("files/lora_files/small_conv_f16.safetensors");
  const norms = new Map((await inspectLora(path)).modules.map(({ name, norm }) => [name, norm]));
  for (const module of (await readLora(path)).modules) {
    const expected = Math.sqrt(loraDelta(module, 1).reduce((sum, value) => sum + value ** 2, 0));
    ok(Math.abs(norms.get(module.name)! / expected - 1) < 1e-6, module.name);
  }
});

Deno.test("inspectLora() finds that the hashes of sd-scripts' files are those of their bytes", async () => {
  for (const name of ["small_f32", "small_conv_f16", "small_bf16"]) {
    const { hashes } = await inspectLora(goldenPath(`files/lora_files/${name}.safetensors`));
    equal(hashes.length, 2);
    for (const { key, found, computed } of hashes) equal(computed, found, `${name}: ${key}`);
  }
});

Deno.test("a changed byte is told by the hash", () =>
  inNewFolder(async (folder) => {
    const file = join(folder, "changed.safetensors");
    await copyFile(goldenPath("files/lora_files/small_f32.safetensors"), file);
    const bytes = await Deno.readFile(file);
    bytes[bytes.length - 2] ^= 1;
    await Deno.writeFile(file, bytes);
    const inspection = await inspectLora(file), [model] = inspection.hashes;
    ok(model.found !== model.computed);
    match(inspectionText(inspection), /sshs_model_hash: [0-9a-f]{64}, but the bytes give [0-9a-f]{64}/);
  }));

Deno.test("the command inspect names a file that is no LoRA", () =>
  rejects(runCommandLine(["inspect", goldenPath("training/tiny/unet/config.json")]), {
    name: "UsageError",
    message: /^Cannot read .*config\.json/,
  }));

Deno.test("a file that is not there, and one with diffusers' names, are told with what to do", () =>
  inNewFolder(async (folder) => {
    const missing = join(folder, "none.safetensors"), other = join(folder, "diffusers.safetensors");
    await rejects(runCommandLine(["inspect", missing]), { message: `Cannot read ${missing}: there is no such file` });
    await convertLora(goldenPath("files/lora_files/small_f32.safetensors"), other);
    await rejects(runCommandLine(["inspect", other]), /diffusers' names, the command convert renames them$/);
  }));
