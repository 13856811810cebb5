import { writeNewFile } from "../steps/outputs/new_file.ts";
import { UsageError } from "./usage_error.ts";

/**
 * Writes a text into a file that is not there yet.
 *
 * @param what What is written, for messages.
 * @throws {UsageError} If the file is there, its folder is not, or it cannot be written.
 */
export async function writeForUser(path: string, what: string, text: string): Promise<void> {
  try {
    await writeNewFile(path, what, text);
  } catch (error) {
    throw new UsageError((error as Error).message, { cause: error });
  }
}
