import { stat } from "node:fs/promises";
import { join } from "node:path";
import { Tokenizer } from "../../models/clip/tokenizer.ts";

/** A text with its ids: not cut, padded to 77, and in rows of 77 for `max_token_length` 150 and 225. */
export interface TokenizedText {
  readonly text: string;
  readonly ids: readonly number[];
  readonly ids77: readonly number[];
  readonly ids150: readonly (readonly number[])[];
  readonly ids225: readonly (readonly number[])[];
}

/**
 * Token ids of texts.
 *
 * @param folder A folder with vocab.json and merges.txt, or the Diffusers folder around its `tokenizer`.
 * @param json `["text", …]`, or `{ cases: [{ text }, …] }` as the golden has it.
 * @returns In the shape of the golden.
 * @throws {TypeError} If the JSON is neither.
 */
export async function probeTokenize(folder: string, json: unknown): Promise<{ cases: TokenizedText[] }> {
  const texts = textsOf(json);
  const inside = join(folder, "tokenizer");
  const tokenizer = await Tokenizer.fromFolder(await isFolder(inside) ? inside : folder);
  return {
    cases: texts.map((text) => ({
      text,
      ids: tokenizer.encode(text),
      ids77: tokenizer.encodePadded(text),
      ids150: tokenizer.chunks(text, 150),
      ids225: tokenizer.chunks(text, 225),
    })),
  };
}

function textsOf(json: unknown): string[] {
  const cases = Array.isArray(json) ? json : (json as { cases?: unknown } | null)?.cases;
  if (!Array.isArray(cases)) {
    throw new TypeError('Cannot tokenize: the input is neither ["text", …] nor {"cases": [{"text": "…"}, …]}');
  }
  return cases.map((each, index) => {
    const text = typeof each === "string" ? each : (each as { text?: unknown } | null)?.text;
    if (typeof text !== "string") throw new TypeError(`Cannot tokenize: case ${index} has no text`);
    return text;
  });
}

async function isFolder(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch (error) {
    if ((error as { code?: string }).code === "ENOENT") return false;
    throw error;
  }
}
