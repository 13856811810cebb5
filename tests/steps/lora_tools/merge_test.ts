import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { join } from "node:path";
import { runCommandLine } from "../../../cli/main.ts";
import { type LoraFileModule, readLora, writeLora } from "../../../formats/lora_file.ts";
import { openTensorFile } from "../../../formats/open_tensor_file.ts";
import { loraDelta } from "../../../lora/merge.ts";
import { mergeLoras, mergeLorasIntoBase } from "../../../steps/lora_tools/merge.ts";
import { toy } from "../../../steps/values/toy.ts";
import { makeCheckpoint } from "../../../tools/make_checkpoint.ts";
import { inNewFolder } from "../small_training.ts";

const name = "lora_te_text_model_encoder_layers_0_mlp_fc1";

function lora(down: number[], up: number[], alpha: number, rank = 1): LoraFileModule {
  return {
    name,
    alpha,
    down: { shape: [rank, down.length / rank], values: Float32Array.from(down) },
    up: { shape: [up.length / rank, rank], values: Float32Array.from(up) },
  };
}

Deno.test("concatenated LoRA files give the sum of their changes, ratio and alpha counted, over both ranks", () =>
  inNewFolder(async (folder) => {
    const [a, b, out] = ["a", "b", "out"].map((each) => join(folder, `${each}.safetensors`));
    await writeLora(a, [lora([1, 2], [3, 5], 0.5)]);
    await writeLora(b, [lora([1, 0, 0, 1], [2, 4, 6, 8], 2, 2)]);
    await mergeLoras([{ file: a, ratio: 2 }, { file: b, ratio: -0.5 }], out, { concat: true });
    const { modules: [merged], metadata } = await readLora(out);
    equal(merged.down.shape[0], 3);
    // 2·0.5·[3 6; 5 10] − 0.5·[2 4; 6 8]
    deepEqual([...loraDelta(merged, 1)], [2, 4, 2, 6]);
    equal(metadata.get("ss_network_dim"), "3");
  }));

Deno.test("without concatenation factors are added as sd-scripts' merge_lora.py does: ratio and root of alpha for each, the sign on down alone", () =>
  inNewFolder(async (folder) => {
    const [a, b, out] = ["a", "b", "out"].map((each) => join(folder, `${each}.safetensors`));
    await writeLora(a, [lora([1, 2], [3, 5], 1)]);
    await writeLora(b, [lora([4, 8], [2, 6], 4)]);
    await mergeLoras([{ file: a, ratio: 1 }, { file: b, ratio: -0.5 }], out);
    const { modules: [{ down, up, alpha }] } = await readLora(out);
    // √(4 / 1) · −0.5 = −1
    deepEqual([[...down.values], [...up.values], alpha], [[-3, -6], [5, 11], 1]);
    await writeLora(b, [lora([1, 0, 0, 1], [2, 4, 6, 8], 2, 2)]);
    await rejects(mergeLoras([{ file: a, ratio: 1 }, { file: b, ratio: 1 }], out), {
      name: "RangeError",
      message:
        `Cannot merge ${b}: ${name} has rank 2 in it and 1 in ${a}; concatenate them (--concat), or resize one of them first`,
    });
  }));

/** Tensors that differ between two files, and by how much at most. */
async function differences(before: string, after: string) {
  await using one = await openTensorFile(before);
  await using two = await openTensorFile(after);
  deepEqual([...two.tensors.keys()], [...one.tensors.keys()]);
  const differing = new Map<string, number[]>();
  for (const [key, { type }] of one.tensors) {
    equal(two.entry(key).type, type);
    if ((await one.bytes(key)).toHex() === (await two.bytes(key)).toHex()) continue;
    const [a, b] = [await one.float32(key), await two.float32(key)];
    differing.set(key, [...b].map((value, i) => value - a[i]));
  }
  return differing;
}

/** A LoRA of the small base model that adds 0.25 · 1 · 2 = 0.5 to each element of one layer's weight. */
async function half(folder: string): Promise<string> {
  await using file = await openTensorFile(join(toy.base, "text_encoder/model.safetensors"));
  const [out, size] = file.entry("text_model.encoder.layers.0.mlp.fc1.weight").shape,
    path = join(folder, "half.safetensors");
  await writeLora(path, [lora(Array(size).fill(1), Array(out).fill(2), 1)]);
  return path;
}

Deno.test("a base in a folder is written as a folder in which one weight has changed by the LoRA", () =>
  inNewFolder(async (folder) => {
    const output = join(folder, "merged"), file = await half(folder);
    await mergeLorasIntoBase("toy", [{ file, ratio: 0.25 }], output);
    const weights = "text_encoder/model.safetensors";
    const differing = await differences(join(toy.base, weights), join(output, weights));
    deepEqual([...differing.keys()], ["text_model.encoder.layers.0.mlp.fc1.weight"]);
    // The small model's weights have 16 bits.
    ok([...differing.values()][0].every((each) => Math.abs(each - 0.5) < 2e-3));
    for (const same of ["unet/diffusion_pytorch_model.safetensors", "vae/diffusion_pytorch_model.safetensors"]) {
      equal((await differences(join(toy.base, same), join(output, same))).size, 0);
    }
    for (
      const config of [
        "model_index.json",
        "unet/config.json",
        "tokenizer/vocab.json",
        "scheduler/scheduler_config.json",
      ]
    ) {
      equal(await Deno.readTextFile(join(output, config)), await Deno.readTextFile(join(toy.base, config)));
    }
    await rejects(mergeLorasIntoBase("toy", [{ file, ratio: 1 }], output), /it is there already/);
    await rejects(mergeLorasIntoBase("toy", [{ file, ratio: 1 }], join(toy.base, "x")), /it lies inside of/);
  }));

for (const layout of ["ldm-safetensors", "ldm-ckpt"] as const) {
  Deno.test(`a base in one file is written as one, in the original layout: ${layout}`, () =>
    inNewFolder(async (folder) => {
      const ending = layout === "ldm-ckpt" ? "ckpt" : "safetensors", config = toy.base;
      const [base, output] = ["base", "merged"].map((each) => join(folder, `${each}.${ending}`));
      await makeCheckpoint(base, { layout, salt: 1, precision: "f32", config });
      await mergeLorasIntoBase(base, [{ file: await half(folder), ratio: 0.25 }], output, { config });
      const differing = await differences(base, output);
      deepEqual([...differing.keys()], ["cond_stage_model.transformer.text_model.encoder.layers.0.mlp.fc1.weight"]);
      ok([...differing.values()][0].every((each) => Math.abs(each - 0.5) < 1e-6));
      await mergeLorasIntoBase(base, [{ file: await half(folder), ratio: 1 }], output, { config, precision: "fp16" });
      await using file = await openTensorFile(output);
      deepEqual([...new Set([...file.tensors.values()].map(({ type }) => type))].toSorted(), ["F16", "I64"]);
      await rejects(
        mergeLorasIntoBase(base, [{ file: await half(folder), ratio: 1 }], base, { config }),
        /it is read as well/,
      );
    }));
}

Deno.test("the command merge wants as many ratios as files", () =>
  inNewFolder(async (folder) => {
    const file = await half(folder), output = join(folder, "x.safetensors");
    await rejects(runCommandLine(["merge", "--models", file, "--ratios", "1", "2", "--save_to", output]), {
      name: "UsageError",
      message: "--ratios has 2 numbers, --models 1 files; one for each is needed",
    });
    await runCommandLine(["merge", "--models", file, file, "--ratios", "1", "2", "--save_to", output, "--concat"]);
    equal((await readLora(output)).modules[0].down.shape[0], 2);
  }));
