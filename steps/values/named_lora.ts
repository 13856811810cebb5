import { InputError } from "../../pipeline/mod.ts";

/**
 * Reads a LoRA file that the user has named.
 *
 * @param flag What named it, for messages.
 * @throws {InputError} If there is no such file.
 * @throws What the reading throws of a file that is none of a LoRA.
 */
export async function readNamedLora<T>(path: string, flag: string, read: (path: string) => Promise<T>): Promise<T> {
  try {
    return await read(path);
  } catch (error) {
    const { code } = error as { code?: string };
    const found = code === "ENOENT" ? "there is no such file" : code === "EISDIR" ? "it is a folder" : null;
    if (found === null) throw error;
    throw new InputError(
      `Cannot read the LoRA file ${path} (${flag}): ${found}; name the .safetensors file of a trained network`,
      { cause: error },
    );
  }
}
