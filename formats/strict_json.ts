/** An object of {@link parseStrictJson}: a Map, so that `__proto__` is only a name and number-like names keep their place. */
export type JsonObject = Map<string, JsonValue>;

/** A value of {@link parseStrictJson}. */
export type JsonValue = null | boolean | string | JsonNumber | JsonValue[] | JsonObject;

/** A number as it was written, so that 4, 4.0, 4e0 and integers above 2^53 stay apart. */
export class JsonNumber {
  constructor(readonly text: string) {}

  /** The number if it is written as an integer from 0 to 2^53 − 1 (no sign, fraction or exponent), else null. */
  asCount(): number | null {
    if (!/^\d+$/.test(this.text)) return null;
    const value = Number(this.text);
    return Number.isSafeInteger(value) ? value : null;
  }
}

/** A name that an object holds twice. `JSON.parse` would keep the last one silently. */
export class DuplicateNameError extends SyntaxError {
  override name = "DuplicateNameError";

  constructor(readonly duplicate: string, position: number) {
    super(`The name ${JSON.stringify(duplicate)} stands twice in one object, the second time at character ${position}`);
  }
}

const MAX_DEPTH = 64;
const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
/** All but quotes, backslashes and control characters. */
const PLAIN_TEXT = /[ !#-[\]-\uffff]*/y;
const ESCAPES = new Map([['"', '"'], ["\\", "\\"], ["/", "/"], ["b", "\b"], ["f", "\f"], ["n", "\n"], ["r", "\r"], [
  "t",
  "\t",
]]);

/**
 * Parses JSON (RFC 8259) without what makes `JSON.parse` unsafe for file headers.
 *
 * @param text The whole text; blanks may surround the value.
 * @returns Objects as Map, numbers as {@link JsonNumber}.
 * @throws {DuplicateNameError} If an object holds a name twice.
 * @throws {SyntaxError} If the text is not JSON, nests more than 64 deep, or has a string with half a surrogate pair.
 * @example Names that look like numbers keep their order
 * ```ts
 * import { deepEqual } from "node:assert/strict";
 * deepEqual(parseStrictJson('{"b": "x", "2": [true]}'), new Map<string, JsonValue>([["b", "x"], ["2", [true]]]));
 * ```
 */
export function parseStrictJson(text: string): JsonValue {
  const parser = new Parser(text);
  const value = parser.value(0);
  parser.end();
  return value;
}

class Parser {
  #position = 0;

  constructor(readonly text: string) {}

  value(depth: number): JsonValue {
    if (depth > MAX_DEPTH) throw new SyntaxError(`More than ${MAX_DEPTH} levels of arrays and objects`);
    this.#skipBlanks();
    switch (this.text[this.#position]) {
      case "{":
        return this.#object(depth);
      case "[":
        return this.#array(depth);
      case '"':
        return this.#string();
      case "t":
        return this.#word("true", true);
      case "f":
        return this.#word("false", false);
      case "n":
        return this.#word("null", null);
      default:
        return this.#number();
    }
  }

  end(): void {
    this.#skipBlanks();
    if (this.#position < this.text.length) this.#fail("the end");
  }

  #object(depth: number): JsonObject {
    const object: JsonObject = new Map();
    this.#position++;
    if (this.#takes("}")) return object;
    do {
      this.#skipBlanks();
      if (this.text[this.#position] !== '"') this.#fail("a name in quotes");
      const position = this.#position;
      const name = this.#string();
      if (object.has(name)) throw new DuplicateNameError(name, position);
      this.#expect(":");
      object.set(name, this.value(depth + 1));
    } while (this.#takes(","));
    this.#expect("}");
    return object;
  }

  #array(depth: number): JsonValue[] {
    const array: JsonValue[] = [];
    this.#position++;
    if (this.#takes("]")) return array;
    do array.push(this.value(depth + 1)); while (this.#takes(","));
    this.#expect("]");
    return array;
  }

  #string(): string {
    const start = this.#position++;
    let value = "";
    for (;;) {
      PLAIN_TEXT.lastIndex = this.#position;
      value += PLAIN_TEXT.exec(this.text)![0];
      this.#position = PLAIN_TEXT.lastIndex;
      const character = this.text[this.#position];
      if (character === '"') break;
      if (character !== "\\") this.#fail("the end of a string");
      value += this.#escape();
    }
    this.#position++;
    if (!value.isWellFormed()) throw new SyntaxError(`Half a surrogate pair in the string at character ${start}`);
    return value;
  }

  #escape(): string {
    const letter = this.text[this.#position + 1];
    if (letter === "u") {
      const digits = this.text.slice(this.#position + 2, this.#position + 6);
      if (!/^[0-9a-fA-F]{4}$/.test(digits)) this.#fail("\\u and four hexadecimal digits");
      this.#position += 6;
      return String.fromCharCode(parseInt(digits, 16));
    }
    const value = ESCAPES.get(letter);
    if (value === undefined) this.#fail("an escape that JSON knows");
    this.#position += 2;
    return value;
  }

  #number(): JsonNumber {
    NUMBER.lastIndex = this.#position;
    const found = NUMBER.exec(this.text);
    if (found === null) this.#fail("a value");
    this.#position = NUMBER.lastIndex;
    return new JsonNumber(found[0]);
  }

  #word<T>(word: string, value: T): T {
    if (!this.text.startsWith(word, this.#position)) this.#fail("a value");
    this.#position += word.length;
    return value;
  }

  #takes(character: string): boolean {
    this.#skipBlanks();
    if (this.text[this.#position] !== character) return false;
    this.#position++;
    return true;
  }

  #expect(character: string): void {
    if (!this.#takes(character)) this.#fail(`"${character}"`);
  }

  #skipBlanks(): void {
    for (;;) {
      const code = this.text.charCodeAt(this.#position);
      if (code !== 0x20 && code !== 0x0a && code !== 0x0d && code !== 0x09) return;
      this.#position++;
    }
  }

  #fail(wanted: string): never {
    const rest = this.text.slice(this.#position, this.#position + 20);
    const found = rest === "" ? "the text ends" : `it goes on with ${JSON.stringify(rest)}`;
    throw new SyntaxError(`Not JSON: at character ${this.#position} ${found}, expected ${wanted}`);
  }
}
