/**
 * A whole number as Python's `int()` reads it: blanks around, a sign, underscores between digits; no exponent, no point.
 *
 * @returns `undefined` if it is none.
 * @example
 * ```ts
 * import { deepEqual } from "node:assert/strict";
 * deepEqual([" 7 ", "1_000", "-5", "1e3", "0x10"].map(pythonInt), [7, 1000, -5, undefined, undefined]);
 * ```
 */
export function pythonInt(text: string): number | undefined {
  const trimmed = text.trim();
  return /^[+-]?\d+(_\d+)*$/.test(trimmed) ? Number(trimmed.replaceAll("_", "")) : undefined;
}

/**
 * A number as Python's `float()` reads it: also with exponent, `inf`, `nan`, and underscores between digits.
 *
 * @returns `undefined` if it is none.
 * @example
 * ```ts
 * import { deepEqual } from "node:assert/strict";
 * deepEqual(["1e-4", "1_0.5", ".5", "-Infinity", "0x10", ""].map(pythonFloat), [1e-4, 10.5, 0.5, -Infinity, undefined, undefined]);
 * ```
 */
export function pythonFloat(text: string): number | undefined {
  const trimmed = text.trim().toLowerCase();
  const special = /^([+-]?)(?:(nan)|inf(?:inity)?)$/.exec(trimmed);
  if (special) return special[2] ? NaN : special[1] === "-" ? -Infinity : Infinity;
  const digits = String.raw`\d+(?:_\d+)*`;
  const isNumber = new RegExp(`^[+-]?(?:${digits}\\.?(?:${digits})?|\\.${digits})(?:e[+-]?${digits})?$`).test(trimmed);
  return isNumber ? Number(trimmed.replaceAll("_", "")) : undefined;
}
