/**
 * The known name that takes the fewest single-letter edits from a mistyped one, for suggestions in errors.
 *
 * @example
 * ```ts
 * import { equal } from "node:assert/strict";
 * equal(nearestName("dual-setp", ["dual-step", "dual-run", "vae"]), "dual-step");
 * ```
 */
export function nearestName(name: string, known: readonly string[]): string {
  return known.toSorted((a, b) => editDistance(name, a) - editDistance(name, b))[0];
}

/** Levenshtein's distance: insertions, deletions and replacements that turn a into b. */
export function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      next.push(Math.min(row[j] + 1, next[j - 1] + 1, row[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1)));
    }
    row = next;
  }
  return row[b.length];
}
