import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { writeLora } from "../../../formats/lora_file.ts";
import { openTensorFile } from "../../../formats/open_tensor_file.ts";
import { writeSafetensors } from "../../../formats/safetensors.ts";
import { diffusersPath, kohyaName } from "../../../lora/diffusers_keys.ts";
import { convertLora } from "../../../steps/lora_tools/convert.ts";
import { goldenPath } from "../../probe/golden_tensors.ts";
import { inNewFolder } from "../small_training.ts";
import { makeLink } from "../../make_link.ts";

/** Names, types and bytes of a file's tensors. */
async function contentOf(path: string) {
  await using file = await openTensorFile(path);
  const content: [string, string, string][] = [];
  for (const [name, { type }] of file.tensors) content.push([name, type, (await file.bytes(name)).toHex()]);
  return content.toSorted(([a], [b]) => a < b ? -1 : 1);
}

async function values(path: string, name: string) {
  await using file = await openTensorFile(path);
  return [...await file.float32(name)];
}

Deno.test("every module that sd-scripts makes for SD v1.5 gets its layer's path in diffusers, and that its name back", async () => {
  const { modules } = JSON.parse(await readFile(goldenPath("training/lora_modules.json"), "utf8"));
  equal(modules.length, 350);
  for (const { name, path } of modules) {
    const full = `${name.startsWith("lora_te_") ? "text_encoder" : "unet"}.${path}`;
    equal(diffusersPath(name), full);
    equal(kohyaName(full), name);
  }
});

for (const name of ["small_f32", "small_conv_f16", "small_bf16", "small_int_alpha", "small_no_metadata"]) {
  for (const alpha of ["fold", "keep"] as const) {
    Deno.test(`${name} of sd-scripts comes back from diffusers' layout with the same bytes: alpha ${alpha}`, () =>
      inNewFolder(async (folder) => {
        const input = goldenPath(`files/lora_files/${name}.safetensors`);
        const there = join(folder, "there.safetensors"), back = join(folder, "back.safetensors");
        const { rounded, to } = await convertLora(input, there, { alpha });
        deepEqual([rounded, to], [[], "diffusers"]);
        equal((await contentOf(there)).some(([key]) => key.endsWith(".alpha")), alpha === "keep");
        await convertLora(there, back);
        deepEqual(await contentOf(back), await contentOf(input));
      }));
  }
}

Deno.test("alpha is folded into lora_B as alpha / rank, and modules that this rounds are told", () =>
  inNewFolder(async (folder) => {
    const input = join(folder, "a.safetensors"), output = join(folder, "b.safetensors");
    const name = "lora_unet_mid_block_attentions_0_proj_in";
    const weights = { down: { shape: [4, 1], values: Float32Array.of(1, 2, 3, 4) }, up: { shape: [1, 4] } };
    const module = { ...weights, name, up: { ...weights.up, values: Float32Array.of(4, 8, 12, 16) } };
    await writeLora(input, [{ ...module, alpha: 1 }]);
    await convertLora(input, output);
    deepEqual(await values(output, "unet.mid_block.attentions.0.proj_in.lora_B.weight"), [1, 2, 3, 4]);
    deepEqual(await values(output, "unet.mid_block.attentions.0.proj_in.lora_A.weight"), [1, 2, 3, 4]);
    const odd = Float32Array.from([1, 2, 3, 4], (value) => Math.fround(Math.PI * value));
    await writeLora(input, [{ ...module, up: { shape: [1, 4], values: odd }, alpha: 3e-45 }]);
    deepEqual((await convertLora(input, output)).rounded, ["unet.mid_block.attentions.0.proj_in"]);
  }));

Deno.test("a file that is diffusers' from the start comes back from kohya's layout with the same bytes", () =>
  inNewFolder(async (folder) => {
    const [a, b, c] = ["a", "b", "c"].map((name) => join(folder, `${name}.safetensors`));
    await writeSafetensors(
      a,
      ["lora_A", "lora_B"].map((end) => ({
        name: `text_encoder.text_model.encoder.layers.3.mlp.fc1.${end}.weight`,
        type: "F32" as const,
        shape: end === "lora_A" ? [1, 2] : [2, 1],
        bytes: new Uint8Array(Float32Array.of(0.1, 0.2).buffer),
      })),
    );
    await convertLora(a, b);
    await convertLora(b, c);
    ok((await contentOf(b)).every(([key]) => key.startsWith("lora_te_text_model_encoder_layers_3_mlp_fc1.")));
    deepEqual(await contentOf(c), await contentOf(a));
  }));

Deno.test("convertLora() names all tensors that it does not know, and writes nothing then", () =>
  inNewFolder(async (folder) => {
    const file = join(folder, "a.safetensors"), output = join(folder, "b.safetensors");
    const tensor = (name: string) => ({ name, type: "U8" as const, shape: [1], bytes: new Uint8Array(1) });
    await writeSafetensors(file, [tensor("lora_unet_input_blocks_1.lora_down.weight"), tensor("lora_te_x.hada_w1_a")]);
    await rejects(convertLora(file, output), {
      name: "TypeError",
      message:
        /2 of its 2 tensors .*: lora_te_x\.hada_w1_a, lora_unet_input_blocks_1\.lora_down\.weight; expected names/,
    });
    await rejects(Deno.stat(output), Deno.errors.NotFound);
  }));

Deno.test("convertLora() does not write over its input, also through a link", () =>
  inNewFolder(async (folder) => {
    const input = goldenPath("files/lora_files/small_f32.safetensors"), link = join(folder, "link.safetensors");
    await makeLink(input, link);
    await rejects(convertLora(input, link), /it is read as well/);
    await rejects(convertLora(input, join(folder, "none/x.safetensors")), /there is no folder/);
    await rejects(convertLora(input, join(folder, "x.zip")), (error: Error) => {
      match(error.message, /must end in \.safetensors/);
      return true;
    });
  }));
