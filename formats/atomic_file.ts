import { randomUUID } from "node:crypto";
import { type FileHandle, open, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import process from "node:process";
import { tellingWriteErrors } from "./write_errors.ts";

/**
 * Writes a file so that its path holds either the old content or the whole new one, also after a crash or a full disk.
 *
 * The pieces go to a hidden temporary file in the same folder, which is flushed to the disk and then renamed.
 *
 * @param path File to write; its folder must exist. An existing file is replaced.
 * @param pieces Content, in order; made and written one at a time.
 * @param options.sizeBytes Of all pieces, for the message where the disk is full, if they are made one at a time.
 * @throws {DiskFullError} If there is no room; the temporary file is removed first.
 * @throws What else the file system throws (no permission, no such folder).
 */
export async function writeFileAtomically(
  path: string,
  pieces: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
  { sizeBytes }: { sizeBytes?: number } = {},
): Promise<void> {
  const known = Array.isArray(pieces) ? pieces.reduce((sum: number, { length }) => sum + length, 0) : sizeBytes ?? null;
  await tellingWriteErrors(path, () => known, () => writeAndRename(path, pieces));
}

async function writeAndRename(
  path: string,
  pieces: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
): Promise<void> {
  const temporary = join(dirname(path), `.${basename(path)}.tmp-${randomUUID()}`);
  const file = await open(temporary, "wx");
  try {
    try {
      for await (const piece of pieces) await writeAll(file, piece);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  await syncFolder(dirname(path));
}

/**
 * Writes all of some bytes.
 *
 * @param position Where in the file; behind what was written last when left out.
 */
export async function writeAll(file: FileHandle, bytes: Uint8Array, position: number | null = null): Promise<void> {
  for (let written = 0; written < bytes.length;) {
    const at = position === null ? null : position + written;
    written += (await file.write(bytes, written, bytes.length - written, at)).bytesWritten;
  }
}

/** Flushes a file that is written already. */
export async function syncFile(path: string): Promise<void> {
  // Windows flushes a file only for those who may write it.
  const handle = await open(path, "r+");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Flushes a folder's entries to the disk, so that a rename in it survives a power cut. Windows has no such call. */
export async function syncFolder(folder: string): Promise<void> {
  if (process.platform === "win32") return;
  const handle = await open(folder, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
