import { readFile } from "node:fs/promises";
import { writeFileAtomically } from "../../formats/atomic_file.ts";

export { readPlainText } from "../../formats/plain_file.ts";

/**
 * Writes a text so that its path holds either the old content or all of the new one.
 *
 * @throws {DiskFullError} If there is no room for it.
 */
export async function writeTextFile(path: string, text: string): Promise<void> {
  await writeFileAtomically(path, [new TextEncoder().encode(text)]);
}

/** A file's text; null where there is no such file. */
export async function textIfThere(path: string): Promise<string | null> {
  return await readFile(path, "utf8").catch((error) => {
    if (error.code !== "ENOENT") throw error;
    return null;
  });
}
