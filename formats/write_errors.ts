import { mkdir } from "node:fs/promises";
import { dirname } from "node:path";
import { freeSpace } from "./free_space.ts";

/** There is no room for a file, or the user's share of the disk is used up. What was under its name before is untouched, and nothing of the new one stays. */
export class DiskFullError extends Error {
  override name = "DiskFullError";
  readonly code = "ENOSPC";

  /**
   * @param neededBytes What the whole file takes; null where that is not known.
   * @param freeBytes Free in its folder, with the new one taken away again; null where the system does not tell.
   */
  constructor(
    readonly path: string,
    readonly neededBytes: number | null,
    readonly freeBytes: number | null,
    options?: ErrorOptions,
  ) {
    const needed = neededBytes === null ? "" : `: ${neededBytes} bytes are needed`;
    const free = freeBytes === null ? "" : `${needed ? "," : ":"} ${freeBytes} are free in ${dirname(path)}`;
    super(
      `Cannot write ${path}, the disk is full${needed}${free}. What was there before is as it was. Make room, or name a ` +
        "folder on another disk, and start again",
      options,
    );
  }
}

/** A file or folder may not be written. What was under its name before is untouched. */
export class NotWritableError extends Error {
  override name = "NotWritableError";

  /**
   * @param code What the system says; "NotCapable" where Deno itself did not let the program try.
   * @param options.cause The error that said so.
   */
  constructor(
    readonly path: string,
    readonly code: "EROFS" | "EACCES" | "EPERM" | "NotCapable",
    options: { cause: unknown },
  ) {
    super(`Cannot write ${path}: ${reasonOf(path, code, options.cause)}`, options);
  }
}

function reasonOf(path: string, code: NotWritableError["code"], cause: unknown): string {
  if (code === "EROFS") return "its file system is read-only; name a folder elsewhere, or mount it to be written";
  if (code !== "NotCapable") return `this user may not write in ${dirname(path)}; permit it, or name another folder`;
  // "Requires write access to …, run again with the --allow-write flag": the launcher gives that, where it can be given.
  const [wanted] = (cause as Error).message.split(", run again");
  return `Deno does not let this program (${wanted}): it was started without that permission, or this is one of the ` +
    "system's own folders, such as /proc, /sys and /dev; name another folder";
}

/**
 * Does something that writes a file, or a folder of files.
 *
 * @param path What is written, for the message.
 * @param sizeBytes What it takes in all, asked for when it is known; null for unknown.
 * @throws {DiskFullError} If the disk is full.
 * @throws {NotWritableError} If nothing may be written there.
 * @throws What the work throws else.
 */
export async function tellingWriteErrors<T>(
  path: string,
  sizeBytes: () => number | null,
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof DiskFullError) {
      // Of a file inside a folder that is still hidden: the folder is what the user knows.
      if (error.path === path) throw error;
      throw new DiskFullError(path, error.neededBytes, await freeBytes(path), { cause: error });
    }
    if (error instanceof NotWritableError) {
      throw error.path === path ? error : new NotWritableError(path, error.code, { cause: error.cause });
    }
    const code = error instanceof Deno.errors.NotCapable ? "NotCapable" : (error as { code?: string }).code ?? "";
    if (code === "EROFS" || code === "EACCES" || code === "EPERM" || code === "NotCapable") {
      throw new NotWritableError(path, code, { cause: error });
    }
    if (code !== "ENOSPC" && code !== "EDQUOT") throw error;
    throw new DiskFullError(path, sizeBytes(), await freeBytes(path), { cause: error });
  }
}

async function freeBytes(path: string): Promise<number | null> {
  return (await freeSpace(dirname(path)))?.freeBytes ?? null;
}

/**
 * Makes a folder, and those above it, where it is not there.
 *
 * @throws As {@link tellingWriteErrors}.
 */
export async function makeFolder(path: string): Promise<void> {
  await tellingWriteErrors(path, () => null, async () => void await mkdir(path, { recursive: true }));
}
