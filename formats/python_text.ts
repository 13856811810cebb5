/** A Python float: told apart from an int, because `str(64.0)` is "64.0" and `str(64)` is "64". */
export class PythonFloat {
  constructor(readonly value: number) {}
}

/** A Python tuple: `str()` writes it in round brackets. */
export class PythonTuple {
  readonly items: readonly PythonValue[];

  constructor(...items: PythonValue[]) {
    this.items = items;
  }
}

/**
 * A value as Python would hold it. A whole number is an int, any other number a float; {@link PythonFloat} makes a float
 * of a whole number. A Map is a dict; its order is kept, also of keys such as "2".
 */
export type PythonValue =
  | null
  | undefined
  | boolean
  | number
  | bigint
  | string
  | PythonFloat
  | PythonTuple
  | readonly PythonValue[]
  | ReadonlyMap<string, PythonValue>;

/**
 * What Python's `str(value)` gives: the form in which LoRA files keep their settings.
 *
 * @example
 * ```ts
 * import { deepEqual } from "node:assert/strict";
 * const values = [null, true, 1e-5, 64, new PythonFloat(64), new PythonTuple(512, 512)];
 * deepEqual(values.map(pythonStr), ["None", "True", "1e-05", "64", "64.0", "(512, 512)"]);
 * ```
 */
export function pythonStr(value: PythonValue): string {
  return typeof value === "string" ? value : pythonRepr(value);
}

function pythonRepr(value: PythonValue): string {
  if (value === null || value === undefined) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (typeof value === "string") return stringRepr(value);
  if (isNumber(value)) return numberText(value);
  if (value instanceof PythonTuple) {
    const items = value.items.map(pythonRepr);
    return items.length === 1 ? `(${items[0]},)` : `(${items.join(", ")})`;
  }
  if (value instanceof Map) {
    return `{${[...value].map(([key, item]) => `${stringRepr(key)}: ${pythonRepr(item)}`).join(", ")}}`;
  }
  return `[${(value as readonly PythonValue[]).map(pythonRepr).join(", ")}]`;
}

/**
 * What Python's `json.dumps(value)` gives: blanks behind `,` and `:`, all but U+0020 to U+007E as `\uXXXX`, floats as
 * Python writes them.
 *
 * @example
 * ```ts
 * import { equal } from "node:assert/strict";
 * equal(pythonJson(new Map([["é", [1, 1e-5, null]]])), '{"\\u00e9": [1, 1e-05, null]}');
 * ```
 */
export function pythonJson(value: PythonValue): string {
  if (value === null || value === undefined) return "null";
  if (typeof value === "boolean") return String(value);
  if (typeof value === "string") return jsonString(value);
  if (isNumber(value)) {
    const text = numberText(value);
    return { inf: "Infinity", "-inf": "-Infinity", nan: "NaN" }[text] ?? text;
  }
  if (value instanceof Map) {
    return `{${[...value].map(([key, item]) => `${jsonString(key)}: ${pythonJson(item)}`).join(", ")}}`;
  }
  const items = value instanceof PythonTuple ? value.items : value as readonly PythonValue[];
  return `[${items.map(pythonJson).join(", ")}]`;
}

/**
 * What Python's `repr(float)` gives: the shortest digits that read back equal, with an exponent below 1e-4 and from 1e16.
 *
 * @example
 * ```ts
 * import { deepEqual } from "node:assert/strict";
 * deepEqual([1, 1e-4, 1e-5, 1e16].map(pythonFloatText), ["1.0", "0.0001", "1e-05", "1e+16"]);
 * ```
 */
export function pythonFloatText(value: number): string {
  if (Number.isNaN(value)) return "nan";
  const sign = value < 0 || Object.is(value, -0) ? "-" : "";
  if (!Number.isFinite(value)) return `${sign}inf`;
  const [mantissa, exponentText] = Math.abs(value).toExponential().split("e");
  const exponent = Number(exponentText);
  const digits = mantissa.replace(".", "");
  if (exponent < -4 || exponent >= 16) {
    const size = String(Math.abs(exponent)).padStart(2, "0");
    return `${sign}${mantissa}e${exponent < 0 ? "-" : "+"}${size}`;
  }
  if (exponent < 0) return `${sign}0.${"0".repeat(-exponent - 1)}${digits}`;
  const whole = digits.slice(0, exponent + 1).padEnd(exponent + 1, "0");
  return `${sign}${whole}.${digits.slice(exponent + 1) || "0"}`;
}

function isNumber(value: PythonValue): value is number | bigint | PythonFloat {
  return typeof value === "number" || typeof value === "bigint" || value instanceof PythonFloat;
}

function numberText(value: number | bigint | PythonFloat): string {
  if (value instanceof PythonFloat) return pythonFloatText(value.value);
  if (typeof value === "bigint") return String(value);
  return Number.isInteger(value) ? BigInt(value).toString() : pythonFloatText(value);
}

/** `repr(str)`: in single quotes unless only those occur inside; what cannot be printed is escaped. */
function stringRepr(text: string): string {
  const quote = text.includes("'") && !text.includes('"') ? '"' : "'";
  const short = new Map([["\\", "\\\\"], ["\n", "\\n"], ["\r", "\\r"], ["\t", "\\t"], [quote, `\\${quote}`]]);
  let inside = "";
  for (const character of text) {
    const isPrintable = character === " " || !/[\p{C}\p{Z}]/u.test(character);
    inside += short.get(character) ?? (isPrintable ? character : pythonEscape(character.codePointAt(0)!));
  }
  return quote + inside + quote;
}

function pythonEscape(code: number): string {
  const hex = code.toString(16);
  if (code < 0x100) return `\\x${hex.padStart(2, "0")}`;
  return code < 0x10000 ? `\\u${hex.padStart(4, "0")}` : `\\U${hex.padStart(8, "0")}`;
}

function jsonString(text: string): string {
  return JSON.stringify(text).replace(
    /[^ -~]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
