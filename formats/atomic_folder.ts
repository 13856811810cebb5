import { randomUUID } from "node:crypto";
import { mkdir, readdir, rename, rm, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { syncFolder } from "./atomic_file.ts";
import { tellingWriteErrors } from "./write_errors.ts";

/** How hidden names begin: of folders on their way in, of files and folders on their way out, and of those that another is to replace. */
const [incoming, outgoing, replaced] = [".tmp-", ".tmp-del-", ".tmp-old-"];

/**
 * Writes a folder of files so that its path never holds a part of them: they go to a hidden folder beside it, which is flushed to the disk and then renamed.
 * A folder that is there already is replaced; stopped in the middle of that, either the old or the new one lies there, or for an instant none: then
 * {@link removeLeftovers} puts the old one back.
 *
 * @param path Folder to write; its parent must exist.
 * @param fill Writes the files into the folder it is given, each flushed.
 * @throws {DiskFullError} If there is no room; the hidden folder is removed first.
 * @throws What else `fill` and the file system throw.
 */
export async function writeFolderAtomically(path: string, fill: (folder: string) => Promise<void>): Promise<void> {
  await tellingWriteErrors(path, () => null, () => fillAndRename(path, fill));
}

async function fillAndRename(path: string, fill: (folder: string) => Promise<void>): Promise<void> {
  const hidden = join(dirname(path), `${incoming}${basename(path)}-${randomUUID()}`);
  await mkdir(hidden);
  try {
    await fill(hidden);
    await syncFolder(hidden);
    const old = await hide(path, replaced);
    try {
      await rename(hidden, path);
    } catch (error) {
      if (old !== null) await rename(old, path);
      throw error;
    }
    await syncFolder(dirname(path));
    if (old !== null) await rm(old, { recursive: true, force: true });
  } catch (error) {
    await rm(hidden, { recursive: true, force: true });
    throw error;
  }
}

/**
 * Removes a file or folder so that its path never holds a part of it: it is renamed first. What is not there is no error.
 *
 * @throws What the file system throws.
 */
export async function removeAtomically(path: string): Promise<void> {
  const hidden = await hide(path, outgoing);
  if (hidden !== null) await rm(hidden, { recursive: true, force: true });
}

/** Gives something a hidden name beside its own; null where it is not there. */
async function hide(path: string, prefix: string): Promise<string | null> {
  const hidden = join(dirname(path), `${prefix}${basename(path)}-${randomUUID()}`);
  try {
    await rename(path, hidden);
  } catch (error) {
    if ((error as { code?: string }).code === "ENOENT") return null;
    throw error;
  }
  return hidden;
}

/**
 * Removes what a process that was killed left of its hidden files and folders; a folder whose successor is not in its place gets its name back.
 *
 * @param isOwn Whether a name, of what was to be written or removed, is the caller's: other runs may write into the same folder.
 */
export async function removeLeftovers(
  folder: string,
  isOwn: (name: string, path: string) => boolean | Promise<boolean>,
): Promise<void> {
  const names = new Set(await readdir(folder));
  for (const name of names) {
    const [, kind, folderName, fileName] = leftover.exec(name) ?? [], own = folderName ?? fileName;
    if (own === undefined || !await isOwn(own, join(folder, name))) continue;
    if (kind === replaced && !names.has(own)) {
      await rename(join(folder, name), join(folder, own));
      names.add(own);
    } else await rm(join(folder, name), { recursive: true, force: true });
  }
}

/** Whether a name is a hidden one of a folder that its successor was to take the place of; {@link removeLeftovers} gives it its own name back. */
export function isBeingReplaced(name: string): boolean {
  return leftover.exec(name)?.[1] === replaced;
}

/** In seconds a file of a shared folder is written and has its name; what has been hidden for an hour is no process's any more. */
const longestWriteMs = 3_600_000;

/**
 * Removes what processes that were killed left of their hidden files in a folder that other runs write into as well: what nobody has changed for an hour.
 *
 * @param folder There or not.
 */
export async function removeOldLeftovers(folder: string): Promise<void> {
  const isThere = (path: string) => stat(path).catch(() => null);
  if (await isThere(folder) === null) return;
  await removeLeftovers(folder, async (_, path) => {
    const found = await isThere(path);
    return found !== null && Date.now() - found.mtimeMs > longestWriteMs;
  });
}

const uuid = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}";

/** Of this file, and of `writeFileAtomically`. */
const leftover = new RegExp(`^(?:(\\.tmp-(?:del-|old-)?)(.+)-${uuid}|\\.(.+)\\.tmp-${uuid})$`);
