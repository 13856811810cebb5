import { join } from "node:path";
import { readPlainText } from "../../formats/plain_file.ts";
import { JsonNumber, type JsonValue, parseStrictJson } from "../../formats/strict_json.ts";
import { repairText } from "./text_repair.ts";

/** The tokens of a CLIP vocabulary that stand for no text. */
export interface SpecialTokens {
  readonly bos: string;
  readonly eos: string;
  /** For letters that the vocabulary lacks; byte-level vocabularies lack none. */
  readonly unknown: string;
  readonly padding: string;
}

/** What a tokenizer is made of. */
export interface TokenizerParts {
  /** Id of each token; `</w>` marks the end of a word. */
  readonly vocabulary: ReadonlyMap<string, number>;
  /** Pairs of tokens to join, the most important first: `t h</w>`. */
  readonly merges: readonly string[];
  readonly specialTokens?: Partial<SpecialTokens>;
  /** Ids that the text encoder takes at once, with BOS and EOS. Default: 77. */
  readonly modelMaxLength?: number;
}

const CLIP_TOKENS: SpecialTokens = {
  bos: "<|startoftext|>",
  eos: "<|endoftext|>",
  unknown: "<|endoftext|>",
  padding: "<|endoftext|>",
};
/** No text encoder takes more; transformers writes 1e30 where the length is not known, and such rows would fill the memory. */
const LARGEST_LENGTH = 10_000;
/** Merges that CLIP uses of its table; longer tables are cut. */
const MAX_MERGES = 49152 - 256 - 2;

/**
 * Words, contractions, single digits and runs of signs. The original ignores case: "s" then also stands for "ſ", and
 * U+0345, a mark whose upper case is a letter, is neither letter nor sign and is left out.
 */
const PIECES = /<\|[sſ]tartoftext\|>|<\|endoftext\|>|'[sſ]|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^ \p{L}\p{N}\u0345]+/gu;

/**
 * CLIP's tokenizer: byte-pair encoding over lower-cased text, as transformers' CLIPTokenizer with ftfy gives it.
 *
 * @see Radford et al. 2021, https://arxiv.org/abs/2103.00020, and Sennrich et al. 2016, https://arxiv.org/abs/1508.07909
 * @example
 * ```ts
 * import { deepEqual } from "node:assert/strict";
 * const tokens = ["c", "a", "t</w>", "at</w>", "<|startoftext|>", "<|endoftext|>"];
 * const tokenizer = new Tokenizer({ vocabulary: new Map(tokens.map((token, id) => [token, id])), merges: ["a t</w>"] });
 * deepEqual(tokenizer.encode(" Cat"), [4, 0, 3, 5]);
 * ```
 */
export class Tokenizer {
  readonly modelMaxLength: number;
  readonly bosId: number;
  readonly eosId: number;
  readonly paddingId: number;
  /** The largest id that it can give. */
  readonly largestId: number;
  readonly #unknownId: number;
  readonly #vocabulary: ReadonlyMap<string, number>;
  readonly #mergeRanks: ReadonlyMap<string, number>;
  readonly #specialSplit: RegExp;
  readonly #wordIds = new Map<string, readonly number[]>();

  /** @throws {TypeError} If the vocabulary lacks a special token. */
  constructor({ vocabulary, merges, specialTokens = {}, modelMaxLength = 77 }: TokenizerParts) {
    const special = { ...CLIP_TOKENS, ...specialTokens };
    const idOf = (role: keyof SpecialTokens) => {
      const id = vocabulary.get(special[role]);
      if (id !== undefined) return id;
      throw new TypeError(`Cannot make a tokenizer: the vocabulary lacks the ${role} token "${special[role]}"`);
    };
    this.modelMaxLength = modelMaxLength;
    this.bosId = idOf("bos");
    this.eosId = idOf("eos");
    this.paddingId = idOf("padding");
    this.#unknownId = idOf("unknown");
    this.#vocabulary = vocabulary;
    this.largestId = vocabulary.values().reduce((largest, id) => Math.max(largest, id), 0);
    this.#mergeRanks = new Map(merges.map((pair, rank) => [pair, rank]));
    const longestFirst = [...new Set(Object.values(special))].sort((a, b) => b.length - a.length);
    this.#specialSplit = new RegExp(`(${longestFirst.map((token) => RegExp.escape(token)).join("|")})`);
  }

  /**
   * Reads the tokenizer folder of a Diffusers model: `vocab.json`, `merges.txt` and, where they are there,
   * `tokenizer_config.json` and `special_tokens_map.json`.
   *
   * @throws {SyntaxError} If a file is not what it should be.
   * @throws {TypeError} If the vocabulary lacks a special token.
   * @throws What the file system throws if vocab.json or merges.txt cannot be read.
   */
  static async fromFolder(folder: string): Promise<Tokenizer> {
    const vocabularyPath = join(folder, "vocab.json");
    const vocabulary = new Map<string, number>();
    for (const [token, value] of parseObject(await readPlainText(vocabularyPath), vocabularyPath)) {
      const id = value instanceof JsonNumber ? value.asCount() : null;
      if (id === null) throw new SyntaxError(`Cannot read ${vocabularyPath}: the id of "${token}" is no whole number`);
      vocabulary.set(token, id);
    }
    const config = await readOptionalObject(join(folder, "tokenizer_config.json"));
    const specialMap = await readOptionalObject(join(folder, "special_tokens_map.json"));
    const tokenOf = (key: string, usual: string) =>
      tokenText(specialMap.get(key)) ?? tokenText(config.get(key)) ?? usual;
    const maxLength = config.get("model_max_length");
    return new Tokenizer({
      vocabulary,
      merges: parseMerges(await readPlainText(join(folder, "merges.txt"))),
      specialTokens: {
        bos: tokenOf("bos_token", CLIP_TOKENS.bos),
        eos: tokenOf("eos_token", CLIP_TOKENS.eos),
        unknown: tokenOf("unk_token", CLIP_TOKENS.unknown),
        padding: tokenOf("pad_token", CLIP_TOKENS.padding),
      },
      modelMaxLength: knownLength(maxLength instanceof JsonNumber ? maxLength.asCount() : null) ?? 77,
    });
  }

  /** Ids of a text with BOS in front and EOS behind, however long. */
  encode(text: string): number[] {
    const ids = [this.bosId];
    // Every second part is a special token, spelled exactly: it is taken as it is; the parts between are cleaned alone.
    for (const [index, part] of text.split(this.#specialSplit).entries()) {
      if (index % 2 === 1) ids.push(this.#vocabulary.get(part)!);
      else ids.push(...this.#encodePlain(part));
    }
    ids.push(this.eosId);
    return ids;
  }

  /**
   * Ids of a text, cut or padded to a length; the last id of a text that was cut is EOS.
   *
   * @param length With BOS and EOS. Default: what the text encoder takes at once, 77.
   */
  encodePadded(text: string, length = this.modelMaxLength): number[] {
    return this.#padded(this.encode(text), length);
  }

  #padded(ids: number[], length: number): number[] {
    if (ids.length > length) return [...ids.slice(0, length - 1), this.eosId];
    return [...ids, ...new Array<number>(length - ids.length).fill(this.paddingId)];
  }

  /**
   * Rows for the text encoder, each as long as it takes at once: the text padded to `maxTokenLength` + 2 ids, then cut into
   * rows of BOS, 75 ids and the last id, as sd-scripts does for `--max_token_length`.
   *
   * @param maxTokenLength A multiple of 75: 75, 150 or 225 in sd-scripts.
   * @returns `[maxTokenLength / 75][77]`
   * @throws {RangeError} If the length is no multiple of what fits into a row.
   */
  chunks(text: string, maxTokenLength: number): number[][] {
    return this.rowsOf(this.encode(text), maxTokenLength);
  }

  /**
   * The same of ids, with BOS in front and EOS behind.
   *
   * @throws {RangeError} If the length is no multiple of what fits into a row.
   */
  rowsOf(encoded: readonly number[], maxTokenLength: number): number[][] {
    const inside = this.modelMaxLength - 2;
    if (!Number.isInteger(maxTokenLength / inside) || maxTokenLength <= 0) {
      throw new RangeError(
        `Cannot cut a prompt into rows: max_token_length is ${maxTokenLength}, expected a multiple of ${inside}`,
      );
    }
    const ids = this.#padded([...encoded], maxTokenLength + 2);
    const rows: number[][] = [];
    for (let start = 1; start < ids.length - 1; start += inside) {
      rows.push(this.#closeRow([ids[0], ...ids.slice(start, start + inside), ids[ids.length - 1]]));
    }
    return rows;
  }

  /** Where padding is not EOS (as in SD 2), a row must still have an EOS behind its text. */
  #closeRow(row: number[]): number[] {
    if (this.paddingId === this.eosId) return row;
    const isOpen = ![this.eosId, this.paddingId].includes(row.at(-2)!);
    if (isOpen) row[row.length - 1] = this.eosId;
    if (row[1] === this.paddingId) row[1] = this.eosId;
    return row;
  }

  #encodePlain(text: string): number[] {
    // Python's \s and JavaScript's differ in characters that the repair takes out.
    const clean = repairText(text).replaceAll(/\s+/g, " ").trim().toLowerCase();
    return (clean.match(PIECES) ?? []).flatMap((piece) => this.#encodePiece(piece));
  }

  #encodePiece(piece: string): readonly number[] {
    const known = this.#wordIds.get(piece);
    if (known !== undefined) return known;
    const isSpecial = piece === CLIP_TOKENS.bos || piece === CLIP_TOKENS.eos;
    const tokens = isSpecial ? [piece] : this.#merge(byteLetters(piece));
    const ids = tokens.map((token) => this.#vocabulary.get(token) ?? this.#unknownId);
    this.#wordIds.set(piece, ids);
    return ids;
  }

  /** Joins neighbours, always the most important pair first and all its occurrences, until no pair is in the table. */
  #merge(letters: string[]): string[] {
    let tokens = letters;
    while (tokens.length > 1) {
      let bestRank = Infinity;
      let best = 0;
      for (let i = 0; i + 1 < tokens.length; i++) {
        const rank = this.#mergeRanks.get(`${tokens[i]} ${tokens[i + 1]}`) ?? Infinity;
        if (rank < bestRank) [bestRank, best] = [rank, i];
      }
      if (bestRank === Infinity) break;
      tokens = joinPair(tokens, tokens[best], tokens[best + 1]);
    }
    return tokens;
  }
}

function joinPair(tokens: readonly string[], first: string, second: string): string[] {
  const joined: string[] = [];
  for (let i = 0; i < tokens.length; i++) {
    if (tokens[i] === first && tokens[i + 1] === second) joined.push(first + tokens[++i]);
    else joined.push(tokens[i]);
  }
  return joined;
}

/** A printable letter for each byte: itself where it is printable, else one from U+0100 on. */
const BYTE_LETTERS = (() => {
  const isPrintable = (byte: number) => /[!-~¡-¬®-ÿ]/.test(String.fromCharCode(byte));
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(isPrintable(byte) ? byte : next++));
})();

/** The letters of a word's UTF-8 bytes, the last one marked as the end of the word. */
function byteLetters(word: string): string[] {
  const letters = Array.from(new TextEncoder().encode(word), (byte) => BYTE_LETTERS[byte]);
  letters[letters.length - 1] += "</w>";
  return letters;
}

/** A row's length if it can be one: with BOS and EOS, and something between them. */
function knownLength(length: number | null): number | null {
  return length !== null && length > 2 && length <= LARGEST_LENGTH ? length : null;
}

/** The pairs of merges.txt; its first line is a version. */
function parseMerges(text: string): string[] {
  return text.trim().split("\n").slice(1, MAX_MERGES + 1).map((line) => line.trim().split(/\s+/).join(" "));
}

function parseObject(text: string, path: string): Map<string, JsonValue> {
  try {
    const value = parseStrictJson(text);
    if (value instanceof Map) return value;
  } catch (error) {
    throw new SyntaxError(`Cannot read ${path}: ${(error as Error).message}`, { cause: error });
  }
  throw new SyntaxError(`Cannot read ${path}: expected a JSON object`);
}

async function readOptionalObject(path: string): Promise<Map<string, JsonValue>> {
  try {
    return parseObject(await readPlainText(path), path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return new Map();
    throw error;
  }
}

/** A special token's text, which stands alone or as the content of an object. */
function tokenText(value: JsonValue | undefined): string | null {
  if (typeof value === "string") return value;
  const content = value instanceof Map ? value.get("content") : undefined;
  return typeof content === "string" ? content : null;
}
