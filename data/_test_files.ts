import { join } from "node:path";

/** Makes files in a new temporary folder, given as path to Latin-1 content, and removes them after use. */
export async function withFiles(files: Record<string, string>, use: (root: string) => Promise<void>): Promise<void> {
  const root = await Deno.makeTempDir();
  try {
    for (const [path, content] of Object.entries(files)) {
      await Deno.mkdir(join(root, path, ".."), { recursive: true });
      await Deno.writeFile(join(root, path), Uint8Array.from(content, (character) => character.charCodeAt(0)));
    }
    await use(root);
  } finally {
    await Deno.remove(root, { recursive: true });
  }
}
