import { openFileSource } from "./byte_source.ts";
import { SafetensorsFile } from "./safetensors.ts";
import type { TensorFile } from "./tensor_file.ts";

/**
 * Opens a file of tensors, whatever its ending: the format is recognised by the content.
 *
 * @throws {TensorFileError} If the file is not sound, or no file of tensors at all.
 * @throws What the file system throws where it cannot be opened.
 */
export async function openTensorFile(path: string): Promise<TensorFile> {
  const source = await openFileSource(path);
  try {
    return await SafetensorsFile.fromSource(source, path);
  } catch (error) {
    await source.close();
    throw error;
  }
}
