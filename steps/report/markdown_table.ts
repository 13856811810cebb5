/**
 * A table in Markdown. Cells are Markdown themselves; what is plain text there must not have a `|`.
 *
 * @example
 * ```ts
 * import { equal } from "node:assert/strict";
 * equal(markdownTable(["a", "b"], [["1", "2"]]), "| a | b |\n| --- | --- |\n| 1 | 2 |");
 * ```
 */
export function markdownTable(header: readonly string[], rows: readonly (readonly string[])[]): string {
  return [header, header.map(() => "---"), ...rows].map((cells) => `| ${cells.join(" | ")} |`).join("\n");
}
