/**
 * Rows of cells as lines of text, in columns two blanks apart.
 *
 * @example
 * ```ts
 * import { deepEqual } from "node:assert/strict";
 * deepEqual(textTable([["run", "loss"], ["longer", "1"]]), ["run     loss", "longer  1"]);
 * ```
 */
export function textTable(rows: readonly (readonly string[])[]): string[] {
  const widths = rows[0].map((_, at) => Math.max(...rows.map((row) => row[at].length)));
  return rows.map((row) => row.map((text, at) => text.padEnd(widths[at])).join("  ").trimEnd());
}
