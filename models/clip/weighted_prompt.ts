import type { Tokenizer } from "./tokenizer.ts";

/** A part of a prompt and how much it counts. */
export interface WeightedText {
  readonly text: string;
  readonly weight: number;
}

/** An escaped sign, a bracket, the weight before a closing bracket, or text without any of these. */
const pieces = /\\[()[\]\\]|\\|\(|\[|:([+-]?[.\d]+)\)|\)|\]|[^\\()[\]:]+|:/gu;
const emphasis = 1.1;

/**
 * Reads weights in a prompt: `(text)` counts 1.1 times, `[text]` 1 / 1.1 times, `(text:1.3)` 1.3 times; brackets in brackets multiply, a backslash makes a
 * bracket text, and one that is not closed reaches to the end. The grammar is that of AUTOMATIC1111's web UI, which sd-scripts has.
 *
 * @example
 * ```ts
 * import { deepEqual } from "node:assert/strict";
 * deepEqual(parseWeights("a (red:1.5) hat"), [
 *   { text: "a ", weight: 1 }, { text: "red", weight: 1.5 }, { text: " hat", weight: 1 },
 * ]);
 * ```
 */
export function parseWeights(prompt: string): WeightedText[] {
  const parts: { text: string; weight: number }[] = [];
  const open: { bracket: string; from: number }[] = [];
  const multiply = (from: number, factor: number) => {
    for (const part of parts.slice(from)) part.weight *= factor;
  };
  /** Closes the innermost bracket of a kind, if one is open. */
  const close = (bracket: string, factor: number): boolean => {
    const at = open.findLastIndex((each) => each.bracket === bracket);
    if (at < 0) return false;
    multiply(open.splice(at, 1)[0].from, factor);
    return true;
  };
  for (const [piece, number] of prompt.matchAll(pieces)) {
    if (piece.startsWith("\\")) parts.push({ text: piece.slice(1), weight: 1 });
    else if (piece === "(" || piece === "[") open.push({ bracket: piece, from: parts.length });
    else if (number !== undefined && Number.isFinite(Number(number)) && close("(", Number(number))) continue;
    else if (piece === ")" && close("(", emphasis)) continue;
    else if (piece === "]" && close("[", 1 / emphasis)) continue;
    else parts.push({ text: piece, weight: 1 });
  }
  for (const bracket of ["(", "["]) {
    while (close(bracket, bracket === "(" ? emphasis : 1 / emphasis));
  }
  const joined: { text: string; weight: number }[] = [];
  for (const part of parts) {
    const last = joined.at(-1);
    if (last?.weight === part.weight) last.text += part.text;
    else joined.push(part);
  }
  return joined.length === 0 ? [{ text: "", weight: 1 }] : joined;
}

/** A prompt's rows of ids, and the weight of each of its joined states. */
export interface WeightedChunks {
  /** `[maxTokenLength / 75][77]`, as `Tokenizer.chunks` gives them. */
  readonly rows: number[][];
  /** `[maxTokenLength + 2]`: 1 for BOS, EOS and padding. */
  readonly weights: number[];
}

/**
 * Tokens of a prompt with weights, BOS and EOS left out. Each part is made into tokens by itself, as sd-scripts does, so a bracket inside of a word parts it.
 */
export function weightedTokens(tokenizer: Tokenizer, prompt: string): { ids: number[]; weights: number[] } {
  const ids: number[] = [], weights: number[] = [];
  for (const { text, weight } of parseWeights(prompt)) {
    const own = tokenizer.encode(text).slice(1, -1);
    ids.push(...own);
    weights.push(...own.map(() => weight));
  }
  return { ids, weights };
}

/**
 * Ids of a prompt with weights, as rows, see {@link weightedTokens}.
 *
 * @param maxTokenLength A multiple of 75; what is longer is cut off.
 */
export function weightedChunks(tokenizer: Tokenizer, prompt: string, maxTokenLength: number): WeightedChunks {
  const { ids, weights } = weightedTokens(tokenizer, prompt);
  const filled = weights.slice(0, maxTokenLength), rest = maxTokenLength - filled.length;
  return {
    rows: tokenizer.rowsOf([tokenizer.bosId, ...ids, tokenizer.eosId], maxTokenLength),
    weights: [1, ...filled, ...new Array<number>(rest).fill(1), 1],
  };
}
