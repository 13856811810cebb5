import { stat } from "node:fs/promises";
import { dirname } from "node:path";
import { writeFileAtomically } from "../../formats/atomic_file.ts";

/**
 * Writes a text into a file that is not there yet.
 *
 * @param what What is written, for messages: `settings`.
 * @throws {Error} If the file is there, or its folder is not.
 * @throws {DiskFullError} If there is no room for it.
 */
export async function writeNewFile(path: string, what: string, text: string): Promise<void> {
  const isThere = (path: string) => stat(path).then(() => true, () => false);
  if (await isThere(path)) {
    throw new Error(`Cannot write ${what} to ${path}: it is there already; take it away or name another file`);
  }
  if (!await isThere(dirname(path))) throw new Error(`Cannot write ${what} to ${path}: its folder is not there`);
  await writeFileAtomically(path, [new TextEncoder().encode(text)]);
}
