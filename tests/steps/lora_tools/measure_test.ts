import { deepEqual, doesNotMatch, equal, match, ok, rejects } from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { runCommandLine } from "../../../cli/main.ts";
import { type LoraFileModule, writeLora } from "../../../formats/lora_file.ts";
import { measureLoras, measurementText } from "../../../steps/lora_tools/measure.ts";
import { interferenceHtml } from "../../../steps/report/interference_html.ts";
import { goldenPath } from "../../probe/golden_tensors.ts";
import { inNewFolder } from "../small_training.ts";

const golden = goldenPath("files/lora_files/small_conv_f16.safetensors");
const toQ = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q";
const text = "lora_te_text_model_encoder_layers_3_mlp_fc1";

/** A module of rank 1 for a layer of two inputs and one output. */
function rank1(name: string, down: readonly number[], up = 1): LoraFileModule {
  return {
    name,
    down: { shape: [1, 2], values: Float32Array.from(down) },
    up: { shape: [1, 1], values: Float32Array.of(up) },
    alpha: 1,
  };
}

/** Files whose figures are known: 45° in the UNet, nothing in the text encoder's second; one module more in each. */
async function writePair(folder: string): Promise<[string, string]> {
  const [one, two] = ["one", "two"].map((name) => join(folder, `${name}.safetensors`));
  await writeLora(one, [rank1(toQ, [3, 0]), rank1(text, [1, 0]), rank1(`${toQ}_one`, [1, 0])]);
  await writeLora(two, [rank1(toQ, [2, 2]), rank1(text, [1, 0], 0), rank1(`${toQ}_two`, [1, 0])]);
  return [one, two];
}

Deno.test("measureLoras() of a file with itself: everything overlaps, in every block", async () => {
  const { all, blocks, parts, files } = await measureLoras(golden, golden);
  for (const group of [all, ...blocks, ...parts]) {
    for (const value of [group.rows, group.columns, group.cosine, ...group.crosstalk]) {
      ok(Math.abs(value! - 1) < 1e-6, `${group.name}: ${value}`);
    }
  }
  equal(files[0].sha256, files[1].sha256);
  equal(all.modules, files[0].modules);
});

Deno.test("measureLoras() sums blocks and parts up, names modules of one file alone, and leaves those without effect out", () =>
  inNewFolder(async (folder) => {
    const found = await measureLoras(...await writePair(folder));
    const near = (value: number | null, expected: number) => ok(Math.abs(value! - expected) < 1e-12, `${value}`);
    deepEqual(found.files.map(({ alone }) => alone), [[`${toQ}_one`], [`${toQ}_two`]]);
    equal(found.all.modules, 2);
    equal(found.all.withoutEffect, 1);
    near(found.all.rows, 0.5);
    // 2 answers with 2 to what 1 reads; all that 1 does by itself is √(3² + 1²).
    near(found.all.crosstalk[0], 2 / Math.sqrt(10));
    // ⟨(3, 0), (2, 2)⟩ / (√10 · √8)
    near(found.all.cosine, 6 / Math.sqrt(80));
    deepEqual(found.blocks.map(({ name, rows }) => [name, rows === null]), [["BASE", true], ["IN04", false]]);
    const shown = measurementText(found);
    match(shown, /^IN04 +1 +0\.500 +0\.500 +1\.000 +1\.000 +0\.707 +0\.707 +0\.667 +0\.750$/m);
    match(shown, /^BASE +1 +– +– +– +– +– +– +0\.000 +–$/m);
    match(shown, /In 1 modules one file changes nothing/);
    match(shown, /Only in file 2, left out: 1 modules, lora_unet_\w+_two\./);
  }));

Deno.test("files that change nothing, as before a training, are told to change nothing, in the table and on the page", () =>
  inNewFolder(async (folder) => {
    const [one, two] = ["one", "two"].map((name) => join(folder, `${name}.safetensors`));
    await writeLora(one, [rank1(toQ, [3, 0]), rank1(text, [1, 0])]);
    await writeLora(two, [rank1(toQ, [2, 2], 0), rank1(text, [1, 0], 0)]);
    const told = async (a: string, b: string) => {
      const found = await measureLoras(a, b), html = await interferenceHtml(found);
      return [measurementText(found), html.match(/<p class="lead">(.*?)<\/p>/)![1]];
    };
    for (const each of await told(one, two)) match(each, /^File 2 changes nothing in the modules that both have/m);
    for (const each of await told(two, one)) match(each, /^File 1 changes nothing .*: file 2 has nothing to get in/m);
    for (const each of await told(two, two)) {
      match(each, /^Neither file changes anything .*: there is nothing to measure/m);
    }
    for (const each of await told(...await writePair(folder))) {
      doesNotMatch(each, /changes nothing in the|Neither file/);
    }
  }));

Deno.test("the command measure prints the table, and writes JSON and a page", () =>
  inNewFolder(async (folder) => {
    const [one, two] = await writePair(folder), json = join(folder, "a.json"), html = join(folder, "a.html");
    await runCommandLine(["measure", one, two, "--json", json, "--html", html]);
    deepEqual(JSON.parse(await readFile(json, "utf8")), await measureLoras(one, two));
    equal(await readFile(html, "utf8"), await interferenceHtml(await measureLoras(one, two)));
    await rejects(runCommandLine(["measure", one, two, "--json", json]), {
      name: "UsageError",
      message: `Cannot write the measurement to ${json}: it is there already; take it away or name another file`,
    });
  }));

Deno.test("files that cannot be compared are told with what to do", () =>
  inNewFolder(async (folder) => {
    const [one] = await writePair(folder), other = join(folder, "other.safetensors");
    await writeLora(other, [rank1("lora_unet_mid_block_attentions_0_proj_in", [1, 0])]);
    await rejects(runCommandLine(["measure", one, other]), {
      name: "UsageError",
      message:
        /^Cannot measure .*one\.safetensors with .*other\.safetensors: they have no module in common .*; name two/,
    });
    const large = { ...rank1(toQ, [1, 0]), down: { shape: [1, 3], values: Float32Array.of(1, 2, 3) } };
    await writeLora(other, [large]);
    await rejects(
      measureLoras(one, other),
      /attn1_to_q is for a layer of 1×2 in the first and of 1×3 in the second; name two/,
    );
    await rejects(runCommandLine(["measure", one, join(folder, "none")]), /Cannot read .*none: there is no such file/);
  }));

Deno.test("the page needs nothing from elsewhere, has a map for each figure and part, and escapes names", () =>
  inNewFolder(async (folder) => {
    const found = await measureLoras(...await writePair(folder));
    const evil = `<script>alert("1")</script>'&`;
    const [first, second] = found.files, [module] = found.modules;
    const modules = [...found.modules, { ...module, name: `lora_unet_${evil}`, block: evil }];
    const html = await interferenceHtml({
      ...found,
      modules,
      files: [{ ...first, file: evil, alone: [evil] }, second],
      blocks: [{ ...found.all, name: evil }],
    });
    doesNotMatch(html, /<script|<link|<iframe|<object|@import|url\(|\son[a-z]+=/i);
    match(html, /&lt;script&gt;/);
    equal(html.match(/<figure>/g)?.length, 8);
    const ids = [...html.matchAll(/\sid="([^"]*)"/g)].map(([, id]) => id);
    equal(new Set(ids).size, ids.length);
    match(html, />blocks down<\/text>/);
    match(html, /overlaps by 50\.0 %, where random spaces of these ranks would by 50\.0 %/);
  }));

Deno.test("figures in a map have room in its cells, however strongly one answers where the other hardly does", () =>
  inNewFolder(async (folder) => {
    const [one, two] = ["one", "two"].map((name) => join(folder, `${name}.safetensors`));
    await writeLora(one, [rank1(toQ, [3, 0])]);
    await writeLora(two, [rank1(toQ, [2, 2], 1e-7)]);
    const html = await interferenceHtml(await measureLoras(one, two));
    const texts = [...html.matchAll(/>([0-9.e]+)<\/text>/g)].map(([, text]) => text);
    // Overlap of rows and columns; (2e-7 / 3) and (3 / √2) / (√8 · 1e-7) = 7.5e6, which rounding takes to either side.
    equal(texts.slice(0, 3).join(), ".50,1.00,.00");
    match(texts[3], /^[78]e6$/);
  }));
