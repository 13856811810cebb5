import type { Stats } from "node:fs";
import { readFile, stat } from "node:fs/promises";

/** A path that was named as a file's leads to something that may wait for ever, or never end, or to a folder. */
export class SpecialFileError extends Error {
  override name = "SpecialFileError";
  /** The file system's word for a folder; of the others it says nothing. */
  readonly code?: "EISDIR";

  constructor(readonly path: string, readonly kind: string) {
    super(`Cannot read ${path}: it is a ${kind}, must be a file`);
    if (kind === "folder") this.code = "EISDIR";
  }
}

/**
 * Looks at what is to be opened, and refuses what is neither a file nor a folder: to open a named pipe waits for somebody who writes into it.
 *
 * @throws {SpecialFileError} If it is a named pipe, a socket or a device.
 * @throws What the file system throws where nothing is there, or it may not be looked at.
 */
export async function statPlainFile(path: string): Promise<Stats> {
  const found = await stat(path);
  if (found.isFile() || found.isDirectory()) return found;
  const kind = found.isFIFO() ? "named pipe" : found.isSocket() ? "socket" : "device";
  throw new SpecialFileError(path, kind);
}

/**
 * As {@linkcode statPlainFile}, and refuses folders too: what is about to be read says then of which path that is.
 *
 * @throws {SpecialFileError} If it is no file.
 */
export async function checkPlainFile(path: string): Promise<Stats> {
  const found = await statPlainFile(path);
  if (found.isDirectory()) throw new SpecialFileError(path, "folder");
  return found;
}

/**
 * Reads a whole file that somebody has named.
 *
 * @throws {SpecialFileError} If it is a folder, a named pipe, a socket or a device.
 * @throws What the file system throws where it cannot be read.
 */
export async function readPlainFile(path: string): Promise<Uint8Array> {
  await checkPlainFile(path);
  return await readFile(path);
}

/** The same as UTF-8 text. */
export async function readPlainText(path: string): Promise<string> {
  await checkPlainFile(path);
  return await readFile(path, "utf8");
}

/** Whether anything is at a path that can be seen from here. */
export function isThere(path: string): Promise<boolean> {
  return stat(path).then(() => true, () => false);
}

/** Whether an error says that nothing is at a path. Below a file there is nothing either: what is to write there says so. */
export function isMissing({ code }: NodeJS.ErrnoException): boolean {
  return code === "ENOENT" || code === "ENOTDIR";
}
