import { dirname } from "node:path";
import { isThere } from "../../formats/plain_file.ts";
import { writeTextFile } from "./text_file.ts";

/**
 * Writes a text into a file that is not there yet.
 *
 * @param what What is written, for messages: `settings`.
 * @throws {Error} If the file is there, or its folder is not.
 * @throws {DiskFullError} If there is no room for it.
 */
export async function writeNewFile(path: string, what: string, text: string): Promise<void> {
  await checkNewFile(path, what);
  await writeTextFile(path, text);
}

/**
 * Checks that a file can be written anew, before the work that it is to hold.
 *
 * @throws {Error} If the file is there, or its folder is not.
 */
export async function checkNewFile(path: string, what: string): Promise<void> {
  if (await isThere(path)) {
    throw new Error(`Cannot write ${what} to ${path}: it is there already; take it away or name another file`);
  }
  if (!await isThere(dirname(path))) throw new Error(`Cannot write ${what} to ${path}: its folder is not there`);
}
