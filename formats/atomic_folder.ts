import { randomUUID } from "node:crypto";
import { mkdir, readdir, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { syncFolder } from "./atomic_file.ts";
import { tellingDiskFull } from "./disk_full.ts";

/** Names of folders on their way in, and of files and folders on their way out. */
const [incoming, outgoing] = [".tmp-", ".tmp-del-"];

/**
 * Writes a folder of files so that its path never holds a part of them: they go to a hidden folder beside it, which is flushed to the disk and then renamed.
 * A folder that is there already is replaced; stopped in the middle of that, either the old or the new one lies there, or for an instant none.
 *
 * @param path Folder to write; its parent must exist.
 * @param fill Writes the files into the folder it is given, each flushed.
 * @throws {DiskFullError} If there is no room; the hidden folder is removed first.
 * @throws What else `fill` and the file system throw.
 */
export async function writeFolderAtomically(path: string, fill: (folder: string) => Promise<void>): Promise<void> {
  await tellingDiskFull(path, () => null, () => fillAndRename(path, fill));
}

async function fillAndRename(path: string, fill: (folder: string) => Promise<void>): Promise<void> {
  const hidden = join(dirname(path), `${incoming}${basename(path)}-${randomUUID()}`);
  await mkdir(hidden);
  try {
    await fill(hidden);
    await syncFolder(hidden);
    await removeAtomically(path);
    await rename(hidden, path);
  } catch (error) {
    await rm(hidden, { recursive: true, force: true });
    throw error;
  }
  await syncFolder(dirname(path));
}

/**
 * Removes a file or folder so that its path never holds a part of it: it is renamed first. What is not there is no error.
 *
 * @throws What the file system throws.
 */
export async function removeAtomically(path: string): Promise<void> {
  const hidden = join(dirname(path), `${outgoing}${basename(path)}-${randomUUID()}`);
  try {
    await rename(path, hidden);
  } catch (error) {
    if ((error as { code?: string }).code === "ENOENT") return;
    throw error;
  }
  await rm(hidden, { recursive: true, force: true });
}

/**
 * Removes what a process that was killed left of its hidden files and folders.
 *
 * @param isOwn Whether a name, of what was to be written or removed, is the caller's: other runs may write into the same folder.
 */
export async function removeLeftovers(folder: string, isOwn: (name: string) => boolean): Promise<void> {
  for (const name of await readdir(folder)) {
    const found = leftover.exec(name);
    if (found && isOwn(found[1] ?? found[2])) await rm(join(folder, name), { recursive: true, force: true });
  }
}

const uuid = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}";

/** Of this file, and of `writeFileAtomically`. */
const leftover = new RegExp(`^(?:\\.tmp-(?:del-)?(.+)-${uuid}|\\.(.+)\\.tmp-${uuid})$`);
