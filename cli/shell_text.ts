/** A word in single quotes, as POSIX shells read it. */
export function shellQuoted(word: string): string {
  return `'${word.replaceAll("'", `'\\''`)}'`;
}

/**
 * Words as a POSIX shell reads them; quoted where they have to be.
 *
 * @example
 * ```ts
 * import { equal } from "node:assert/strict";
 * equal(shellText(["cat", "a/b.txt", "it's"]), String.raw`cat a/b.txt 'it'\''s'`);
 * ```
 */
export function shellText(words: readonly string[]): string {
  return words.map((word) => /^[\w./,:=+-]+$/.test(word) ? word : shellQuoted(word)).join(" ");
}
