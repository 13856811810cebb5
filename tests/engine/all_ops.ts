import type { AnyOpFunction } from "./op_check.ts";

const folder = new URL("../../engine/ops/", import.meta.url);

/** Every op of `engine/ops/`, in the order of their names. */
export async function allOps(): Promise<AnyOpFunction[]> {
  const found = new Set<AnyOpFunction>();
  for await (const { name, isFile } of Deno.readDir(folder)) {
    if (!isFile || !name.endsWith(".ts") || name.endsWith("_test.ts")) continue;
    for (const value of Object.values(await import(new URL(name, folder).href))) {
      if (typeof value === "function" && "definition" in value) found.add(value as AnyOpFunction);
    }
  }
  return [...found].sort((a, b) => a.definition.name.localeCompare(b.definition.name));
}
