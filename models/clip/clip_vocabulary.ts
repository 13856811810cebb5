import { readFile } from "node:fs/promises";
import { gunzipSync } from "node:zlib";
import { Tokenizer, type TokenizerParts } from "./tokenizer.ts";

const table = new URL("../../assets/clip/bpe_simple_vocab_16e6.txt.gz", import.meta.url);
/** Merges that CLIP uses of its table. */
const mergeCount = 48894;

/** Tokens in CLIP's vocabulary. */
export const clipVocabularySize = 49408;

/** CLIP's own tokenizer, for checkpoints that bring none: Stable Diffusion v1 was trained with it. */
export async function clipTokenizer(): Promise<Tokenizer> {
  return new Tokenizer(await clipVocabulary());
}

/**
 * What CLIP's tokenizer is made of: the vocabulary is the letters of the bytes, the same at the end of a word, one token for
 * each merge, and the two special tokens.
 */
export async function clipVocabulary(): Promise<TokenizerParts> {
  const lines = gunzipSync(await readFile(table)).toString("utf8").split("\n"), merges = lines.slice(1, mergeCount + 1);
  // Printable bytes stand for themselves and come first; the others have letters from U+0100 on.
  const codes = [...range(0x21, 0x7e), ...range(0xa1, 0xac), ...range(0xae, 0xff), ...range(0x100, 0x143)];
  const letters = codes.map((code) => String.fromCharCode(code));
  const ends = letters.map((letter) => `${letter}</w>`), joined = merges.map((pair) => pair.replace(" ", ""));
  const tokens = [...letters, ...ends, ...joined, "<|startoftext|>", "<|endoftext|>"];
  return { vocabulary: new Map(tokens.map((token, id) => [token, id])), merges };
}

function range(first: number, last: number): number[] {
  return Array.from({ length: last - first + 1 }, (_, i) => first + i);
}
