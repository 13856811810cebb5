/**
 * Orders texts by code point, as Rust, Python and UTF-8 bytes do; negative if a comes first.
 *
 * JavaScript's `<` compares UTF-16 units, which puts emoji before U+E000 to U+FFFF.
 *
 * @example
 * ```ts
 * import { deepEqual } from "node:assert/strict";
 * deepEqual(["\u{1f642}", "\uff21", "b", "a"].sort(compareCodePoints), ["a", "b", "\uff21", "\u{1f642}"]);
 * ```
 */
export function compareCodePoints(a: string, b: string): number {
  const shorter = Math.min(a.length, b.length);
  let i = 0;
  while (i < shorter && a[i] === b[i]) i++;
  if (i === shorter) return a.length - b.length;
  // Where the first difference is inside a surrogate pair, both share the pair's first half.
  const start = i > 0 && isLead(a.charCodeAt(i - 1)) ? i - 1 : i;
  return a.codePointAt(start)! - b.codePointAt(start)!;
}

function isLead(unit: number): boolean {
  return unit >= 0xd800 && unit <= 0xdbff;
}
