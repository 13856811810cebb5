/** Where something stands in a file: keys and places in lists. */
export type KeyPath = readonly (string | number)[];

const headerLine = /^\s*(\[\[?)\s*([^\]]+?)\s*\]\]?/;
const keyLine = /^\s*([A-Za-z0-9_-]+|"[^"]*"|'[^']*')\s*=/;

function bareKey(key: string): string {
  return key.trim().replace(/^(["'])(.*)\1$/, "$2");
}

/**
 * Finds the line of a key in a TOML file whose tables are written line by line.
 *
 * @returns Gives the line of a path, from 1; what stands inside an inline table has the line of its key, what is not
 * there at all that of its table; without any, 1.
 * @example
 * ```ts
 * import { equal } from "node:assert/strict";
 * const lineOf = tomlLines("[general]\nflip = 1\n[[sets]]\n[[sets]]\nname = 5\n");
 * equal(lineOf(["sets", 1, "name"]), 5);
 * equal(lineOf(["sets", 1, "missing"]), 4);
 * ```
 */
export function tomlLines(text: string): (path: KeyPath) => number {
  const lines = new Map<string, number>(), counts = new Map<string, number>();
  const remember = (path: KeyPath, line: number) => {
    const key = JSON.stringify(path);
    if (!lines.has(key)) lines.set(key, line);
  };
  let table: (string | number)[] = [];
  for (const [at, line] of text.split("\n").entries()) {
    const header = headerLine.exec(line), key = keyLine.exec(line);
    if (header === null) {
      if (key !== null) remember([...table, bareKey(key[1])], at + 1);
      continue;
    }
    const parts = header[2].split(".").map(bareKey), isList = header[1] === "[[";
    table = [];
    for (const [depth, part] of parts.entries()) {
      table.push(part);
      const list = JSON.stringify(table), isNew = isList && depth === parts.length - 1;
      remember(table, at + 1);
      if (isNew) counts.set(list, (counts.get(list) ?? -1) + 1);
      const place = counts.get(list);
      if (place !== undefined) table.push(place);
    }
    remember(table, at + 1);
  }
  return (path) => {
    for (let length = path.length; length > 0; length--) {
      const line = lines.get(JSON.stringify(path.slice(0, length)));
      if (line !== undefined) return line;
    }
    return 1;
  };
}
