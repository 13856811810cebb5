import { deepEqual, equal, rejects, throws } from "node:assert/strict";
import { createHash } from "node:crypto";
import { copyFile, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";
import { clipTokenizer, clipVocabulary, clipVocabularySize } from "./clip_vocabulary.ts";
import { Tokenizer } from "./tokenizer.ts";

const GOLDEN = new URL("../../tests/golden/models/", import.meta.url);
const TOY = fileURLToPath(new URL("../../assets/toy/base/tokenizer", import.meta.url));

interface Case {
  text: string;
  ids: number[];
  ids77: number[];
  ids150: number[][];
  ids225: number[][];
}

// transformers 4.26.1 with ftfy 6.3.1, and sd-scripts' chunks for max_token_length 150 and 225.
const golden: { sha256: Record<string, string>; cases: Case[] } = JSON.parse(
  gunzipSync(await readFile(new URL("tokenizer.json.gz", GOLDEN))).toString("utf8"),
);
const { vocabulary, merges } = await clipVocabulary();
const files = {
  // As Python writes JSON. An object would bring the tokens that are digits to the front.
  "vocab.json": `{${[...vocabulary].map(([token, id]) => `${JSON.stringify(token)}: ${id}`).join(", ")}}`,
  "merges.txt": ["#version: 0.2", ...merges, ""].join("\n"),
};

/** A tokenizer folder with CLIP's own vocabulary. */
async function makeClipFolder(): Promise<string> {
  const folder = await Deno.makeTempDir();
  for (const [name, text] of Object.entries(files)) await writeFile(join(folder, name), text);
  return folder;
}
const clipFolder = await makeClipFolder();
const clip = await clipTokenizer(), clipOfFolder = await Tokenizer.fromFolder(clipFolder);

Deno.test("clipVocabulary() has the vocabulary and the merges of CLIP's own files", () => {
  equal(vocabulary.size, clipVocabularySize);
  for (const [name, text] of Object.entries(files)) {
    equal(createHash("sha256").update(text).digest("hex"), golden.sha256[name], name);
  }
});

Deno.test("clipTokenizer() and a folder give the ids of transformers' CLIPTokenizer for all 282 prompts", () => {
  equal(golden.cases.length, 282);
  for (const tokenizer of [clip, clipOfFolder]) {
    for (const { text, ids, ids77, ids150, ids225 } of golden.cases) {
      deepEqual(tokenizer.encode(text), ids, JSON.stringify(text));
      deepEqual(tokenizer.encodePadded(text), ids77, JSON.stringify(text));
      deepEqual(tokenizer.chunks(text, 75), [ids77], JSON.stringify(text));
      deepEqual(tokenizer.chunks(text, 150), ids150, JSON.stringify(text));
      deepEqual(tokenizer.chunks(text, 225), ids225, JSON.stringify(text));
    }
  }
});

Deno.test("Tokenizer gives transformers' ids with the toy base's vocabulary of 883 tokens", async () => {
  const toy = await Tokenizer.fromFolder(TOY);
  const rows: Case[] = JSON.parse(await readFile(new URL("toy_tokenizer.json", GOLDEN), "utf8"));
  for (const { text, ids, ids150 } of rows) {
    deepEqual(toy.encode(text), ids, JSON.stringify(text));
    deepEqual(toy.chunks(text, 150), ids150, JSON.stringify(text));
  }
});

/** "a" is 0, "a</w>" 1, padding "!" 2, BOS 3, EOS 4. */
const SMALL = {
  vocabulary: new Map(["a", "a</w>", "!", "<|startoftext|>", "<|endoftext|>"].map((token, id) => [token, id])),
  merges: [],
  modelMaxLength: 4,
};

Deno.test("encodePadded() pads with the folder's padding token, EOS unless it says otherwise", () => {
  deepEqual(new Tokenizer(SMALL).encodePadded("a", 6), [3, 1, 4, 4, 4, 4]);
  const withPadding = new Tokenizer({ ...SMALL, specialTokens: { padding: "!" } });
  deepEqual(withPadding.encodePadded("a", 6), [3, 1, 4, 2, 2, 2]);
});

Deno.test("chunks() closes each row with EOS where padding is another token", () => {
  // By hand from sd-scripts' get_input_ids: x at the end of a row gets EOS behind it, a row of padding alone one in front.
  const tokenizer = new Tokenizer({ ...SMALL, specialTokens: { padding: "!" } });
  deepEqual(tokenizer.chunks("a a", 6), [[3, 1, 1, 4], [3, 4, 2, 2], [3, 4, 2, 2]]);
});

Deno.test("encode() takes what the vocabulary lacks as the unknown token", () => {
  deepEqual(new Tokenizer(SMALL).encode("ab"), [3, 0, 4, 4]);
});

Deno.test("chunks() refuses a length that is no multiple of a row", async () => {
  const toy = await Tokenizer.fromFolder(TOY);
  throws(() => toy.chunks("a", 100), { name: "RangeError", message: /max_token_length is 100, .*multiple of 75/ });
  throws(() => toy.chunks("a", 0), { name: "RangeError" });
});

Deno.test("fromFolder() names the file that is missing or not what it should be", async () => {
  const folder = await Deno.makeTempDir();
  await rejects(Tokenizer.fromFolder(folder), { code: "ENOENT", message: /vocab\.json/ });
  await copyFile(join(TOY, "vocab.json"), join(folder, "vocab.json"));
  await rejects(Tokenizer.fromFolder(folder), { code: "ENOENT", message: /merges\.txt/ });
  await copyFile(join(TOY, "merges.txt"), join(folder, "merges.txt"));
  await writeFile(join(folder, "tokenizer_config.json"), "{");
  await rejects(Tokenizer.fromFolder(folder), { name: "SyntaxError", message: /tokenizer_config\.json/ });
  await writeFile(join(folder, "tokenizer_config.json"), '{"bos_token": "<s>"}');
  await rejects(Tokenizer.fromFolder(folder), { name: "TypeError", message: /lacks the bos token "<s>"/ });
});
