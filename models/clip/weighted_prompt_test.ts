import { deepEqual, equal } from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { Tokenizer } from "./tokenizer.ts";
import { parseWeights, weightedChunks } from "./weighted_prompt.ts";

const root = new URL("../../", import.meta.url);
const { rows } = JSON.parse(await Deno.readTextFile(new URL("tests/golden/models/weighted_prompts.json", root)));

Deno.test("parseWeights() reads brackets as sd-scripts does, to the last digit of every weight", () => {
  for (const { text, parts } of rows) {
    deepEqual(parseWeights(text).map(({ text, weight }) => [text, weight]), parts, text);
  }
  equal(rows.length, 21);
});

Deno.test("parseWeights() takes what is no number for text", () => {
  // sd-scripts ends with an error here.
  deepEqual(parseWeights("(x:1.2.3) y"), [{ text: "x:1.2.3) y", weight: 1.1 }]);
});

Deno.test("weightedChunks() makes each part into tokens by itself, cut and padded as sd-scripts does", async () => {
  const tokenizer = await Tokenizer.fromFolder(fileURLToPath(new URL("assets/toy/base/tokenizer", root)));
  for (const { text, tokens, weights } of rows) {
    for (const [at, length] of [75, 150].entries()) {
      const found = weightedChunks(tokenizer, text, length), kept = Math.min(length, tokens.length);
      equal(found.rows.length, at + 1);
      const inside = found.rows.flatMap((row) => row.slice(1, -1));
      deepEqual(inside.slice(0, kept), tokens.slice(0, kept), text);
      deepEqual(inside.slice(kept), Array(length - kept).fill(tokenizer.paddingId));
      deepEqual(found.weights, [1, ...weights.slice(0, kept), ...Array(length - kept).fill(1), 1], text);
      for (const row of found.rows) deepEqual([row[0], row[76]], [tokenizer.bosId, tokenizer.eosId]);
    }
  }
});
