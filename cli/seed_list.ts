import { UsageError } from "./usage_error.ts";

/**
 * Seeds as they are written: a list such as `1,2,5`, or a range such as `1-5`.
 *
 * @param where What the error is about: `--seeds`, or a place in a file.
 * @throws {UsageError} If the text is neither, or a range of more than a thousand.
 * @example
 * ```ts
 * import { deepEqual } from "node:assert/strict";
 * deepEqual(seedList("3-5", "--seeds"), [3, 4, 5]);
 * deepEqual(seedList("7,2", "--seeds"), [7, 2]);
 * ```
 */
export function seedList(text: string, where: string): number[] {
  const range = text.match(/^(\d+)-(\d+)$/);
  if (range) {
    const [first, last] = [Number(range[1]), Number(range[2])];
    if (first <= last && last - first < 1000) return Array.from({ length: last - first + 1 }, (_, i) => first + i);
  } else if (/^\d+(,\d+)*$/.test(text)) return text.split(",").map(Number);
  throw new UsageError(`${where} is ${JSON.stringify(text)}, must be a list such as 1,2,5 or a range such as 1-5`);
}
