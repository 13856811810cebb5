import { stat, statfs } from "node:fs/promises";
import { dirname, resolve } from "node:path";

/** A file system, and the bytes on it that this user may write. */
export interface FreeSpace {
  /** The same for folders that share a file system. */
  readonly device: number;
  readonly freeBytes: number;
}

/**
 * Free space where a folder is, or will be made.
 *
 * @returns Null where it cannot be known: some file systems do not tell, and the permission may be missing.
 */
export async function freeSpace(folder: string): Promise<FreeSpace | null> {
  let place = resolve(folder);
  for (;;) {
    try {
      const { dev } = await stat(place), { bavail, bsize } = await statfs(place);
      return { device: dev, freeBytes: bavail * bsize };
    } catch (error) {
      const above = dirname(place);
      if ((error as { code?: string }).code !== "ENOENT" || above === place) return null;
      place = above;
    }
  }
}
