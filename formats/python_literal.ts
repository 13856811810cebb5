/** A value of a Python literal, as JSON has it: tuples and lists are arrays, None is null. */
export type LiteralValue = null | boolean | number | string | readonly LiteralValue[];

/**
 * Reads a Python literal, as `ast.literal_eval` does for numbers, strings, `True`, `False`, `None`, tuples and lists.
 *
 * @throws {SyntaxError} If the text is no such literal, naming the place.
 * @example
 * ```ts
 * import { deepEqual } from "node:assert/strict";
 * deepEqual(parsePythonLiteral(".9, 0.99"), [0.9, 0.99]);
 * deepEqual(parsePythonLiteral("[True, None, '1e-3', -1e-3]"), [true, null, "1e-3", -1e-3]);
 * ```
 */
export function parsePythonLiteral(text: string): LiteralValue {
  const reader = new LiteralReader(text);
  const value = reader.items(null);
  return value;
}

const words: Readonly<Record<string, LiteralValue>> = { True: true, False: false, None: null };
const number = /^(?:\d+(?:_\d+)*\.?(?:\d+(?:_\d+)*)?|\.\d+(?:_\d+)*)(?:[eE][+-]?\d+(?:_\d+)*)?/;
const string = /^'((?:[^'\\\n]|\\.)*)'|^"((?:[^"\\\n]|\\.)*)"/;
const escapes: Readonly<Record<string, string>> = { n: "\n", t: "\t", r: "\r", "\\": "\\", "'": "'", '"': '"' };

class LiteralReader {
  private at = 0;

  constructor(private readonly text: string) {}

  /** Values up to the closing bracket, or to the end of the text: one value, or with a comma a tuple. */
  items(close: ")" | "]" | null): LiteralValue {
    const found: LiteralValue[] = [];
    let isTuple = close === "]";
    for (;;) {
      if (this.isAt(close)) {
        if (found.length === 0) {
          if (close === null) throw this.fail("a value");
          isTuple = true;
        }
        break;
      }
      found.push(this.value());
      if (this.takes(",")) isTuple = true;
      else if (!this.isAt(close)) throw this.fail(close ? `, or ${close}` : "a comma or the end");
      else break;
    }
    if (close) this.takes(close);
    return isTuple ? found : found[0];
  }

  private value(): LiteralValue {
    if (this.takes("(")) return this.items(")");
    if (this.takes("[")) return this.items("]");
    const sign = this.takes("-") ? -1 : this.takes("+") ? 1 : null;
    const rest = this.rest(), digits = rest.match(number)?.[0];
    if (digits !== undefined && !/^0\d/.test(digits.replaceAll("_", ""))) {
      this.at += digits.length;
      return (sign ?? 1) * Number(digits.replaceAll("_", ""));
    }
    const word = sign === null ? rest.match(/^[A-Za-z]+/)?.[0] : undefined;
    if (word !== undefined && Object.hasOwn(words, word)) {
      this.at += word.length;
      return words[word];
    }
    const quoted = sign === null ? rest.match(string) : null;
    if (!quoted) throw this.fail("a number, a string, True, False, None, a tuple or a list");
    this.at += quoted[0].length;
    return (quoted[1] ?? quoted[2]).replace(/\\(.)/g, (whole, kind) => escapes[kind] ?? whole);
  }

  private rest(): string {
    while (/\s/.test(this.text[this.at] ?? "")) this.at++;
    return this.text.slice(this.at);
  }

  private takes(sign: string): boolean {
    if (!this.rest().startsWith(sign)) return false;
    this.at += sign.length;
    return true;
  }

  private isAt(close: string | null): boolean {
    const rest = this.rest();
    return close === null ? rest === "" : rest.startsWith(close);
  }

  private fail(wanted: string): SyntaxError {
    const found = this.rest();
    return new SyntaxError(
      `Cannot read ${JSON.stringify(this.text)} as a Python value: found ${
        found === "" ? "its end" : JSON.stringify(found)
      }, expected ${wanted}`,
    );
  }
}
