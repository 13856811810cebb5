import { stat } from "node:fs/promises";
import { basename, dirname, extname } from "node:path";
import { nameProblem } from "../values/file_name.ts";

/** Endings of LoRA files, and whether they are PyTorch's, without metadata. */
const endings: Readonly<Record<string, boolean>> = { ".safetensors": false, ".pt": true, ".ckpt": true, ".bin": true };

/** Whether a file is to be written as `torch.save()` does, by its ending. */
export function isTorchFile(path: string): boolean {
  return endings[extname(path)];
}

/**
 * Checks where a tool is to write before it computes anything.
 *
 * @param inputs Files and folders that are read.
 * @throws {RangeError} If the ending is no LoRA file's, or the path is one of the inputs.
 * @throws {Error} If the folder is not there, or a folder has the file's name.
 */
export async function checkOutput(path: string, inputs: readonly string[]): Promise<void> {
  checkOutputName(path);
  if (!Object.hasOwn(endings, extname(path))) {
    throw new RangeError(`Cannot write ${path}: it must end in ${Object.keys(endings).join(", ")}`);
  }
  const found = await stat(path).catch(() => null);
  if (found?.isDirectory()) throw new Error(`Cannot write ${path}: a folder has that name; name a file`);
  if (!(await stat(dirname(path)).catch(() => null))?.isDirectory()) {
    throw new Error(`Cannot write ${path}: there is no folder ${dirname(path)}; make it first`);
  }
  await refuseInput(path, inputs);
}

/**
 * Checks the last part of a path that a tool is to write.
 *
 * @throws {RangeError} If it is no name that every file system takes.
 */
export function checkOutputName(path: string): void {
  const problem = nameProblem(path.includes("\0") ? path : basename(path));
  if (problem !== null) throw new RangeError(`Cannot write ${path}: the name ${problem}; choose another`);
}

/**
 * Refuses to write over what is read.
 *
 * @throws {RangeError} If the path is one of the inputs, by whatever name.
 */
async function refuseInput(path: string, inputs: readonly string[]): Promise<void> {
  const found = await stat(path).catch(() => null);
  for (const input of found ? inputs : []) {
    const other = await stat(input).catch(() => null);
    if (other?.ino === found!.ino && other.dev === found!.dev) {
      throw new RangeError(`Cannot write ${path}: it is read as well; give the result another name`);
    }
  }
}
