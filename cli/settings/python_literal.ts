import { pythonFloat, pythonInt } from "./python_numbers.ts";

/** What a Python literal can be in JSON; tuples are lists. */
export type PythonLiteral = null | boolean | number | string | readonly PythonLiteral[];

/**
 * A value as Python's `ast.literal_eval` reads it: numbers, `True`, `False`, `None`, texts in quotes, tuples and lists of them. Brackets around a tuple
 * may be left out.
 *
 * @throws {SyntaxError} Naming what is none.
 * @example
 * ```ts
 * import { deepEqual } from "node:assert/strict";
 * deepEqual(pythonLiteral("(0.9, 0.99)"), [0.9, 0.99]);
 * deepEqual(["1e-3", "True", "None", "'a b'", "0.9,0.99"].map(pythonLiteral), [0.001, true, null, "a b", [0.9, 0.99]]);
 * ```
 */
export function pythonLiteral(text: string): PythonLiteral {
  const reader = new LiteralReader(text), first = reader.value();
  const found = reader.next(",") ? [first, ...reader.items("")] : first;
  reader.end();
  return found;
}

const words: ReadonlyMap<string, PythonLiteral> = new Map<string, PythonLiteral>([["True", true], ["False", false], [
  "None",
  null,
]]);

class LiteralReader {
  private at = 0;

  constructor(private readonly text: string) {}

  value(): PythonLiteral {
    if (this.next("[")) return this.items("]");
    if (this.next("(")) {
      const items = this.items(")");
      // Brackets around one value without a comma are no tuple.
      return items.length === 1 && !/,\s*\)$/.test(this.text.slice(0, this.at)) ? items[0] : items;
    }
    const quoted = /^\s*("(?:[^"\\]|\\["'\\])*"|'(?:[^'\\]|\\["'\\])*')/.exec(this.rest());
    if (quoted) {
      this.at += quoted[0].length;
      return quoted[1].slice(1, -1).replace(/\\(["'\\])/g, "$1");
    }
    const word = /^\s*([^\s,()[\]]+)/.exec(this.rest());
    if (!word) throw this.wrong();
    const number = pythonInt(word[1]) ?? (/^[+-]?(inf|nan)/i.test(word[1]) ? undefined : pythonFloat(word[1]));
    const found = words.has(word[1]) ? words.get(word[1])! : number;
    if (found === undefined) throw this.wrong();
    this.at += word[0].length;
    return found;
  }

  /** Values until the closing bracket; until the end of the text for an empty one. */
  items(close: string): PythonLiteral[] {
    const found: PythonLiteral[] = [];
    let isSeparated = true;
    for (;;) {
      if (close === "" ? this.rest().trim() === "" : this.next(close)) return found;
      if (!isSeparated) throw this.wrong();
      found.push(this.value());
      isSeparated = this.next(",");
    }
  }

  next(sign: string): boolean {
    const blanks = /^\s*/.exec(this.rest())![0].length;
    if (!this.text.startsWith(sign, this.at + blanks)) return false;
    this.at += blanks + sign.length;
    return true;
  }

  end(): void {
    if (this.rest().trim() !== "") throw this.wrong();
  }

  private rest(): string {
    return this.text.slice(this.at);
  }

  private wrong(): SyntaxError {
    const rest = this.rest().trim();
    return new SyntaxError(
      `${
        rest === ""
          ? "a value is missing at the end"
          : `${JSON.stringify(rest)} is no number, True, False, None, text in quotes, or list of them`
      }`,
    );
  }
}
