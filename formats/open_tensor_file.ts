import { openFileSource } from "./byte_source.ts";
import { SafetensorsFile } from "./safetensors.ts";
import type { TensorFile } from "./tensor_file.ts";
import { recogniseFormat } from "./tensor_file_format.ts";
import { TorchCheckpoint, type TorchCheckpointOptions } from "./torch_checkpoint/torch_checkpoint.ts";

/**
 * Opens a file of tensors, whatever its ending: safetensors, or what `torch.save()` wrote (.ckpt, .pt, .bin). Close it, or
 * declare it with `await using`.
 *
 * @param options Which dict of a PyTorch checkpoint is wanted; safetensors files have no such thing.
 * @throws {TensorFileError} If the file is not sound, could run code elsewhere, or is no file of tensors at all.
 * @throws What the file system throws where it cannot be opened.
 */
export async function openTensorFile(path: string, options: TorchCheckpointOptions = {}): Promise<TensorFile> {
  const source = await openFileSource(path);
  try {
    return await recogniseFormat(source, path) === "safetensors"
      ? await SafetensorsFile.fromSource(source, path)
      : await TorchCheckpoint.fromSource(source, path, options);
  } catch (error) {
    await source.close();
    throw error;
  }
}
