import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";

/** Hears how many bytes of a file have come from elsewhere. */
export type OnBytes = (file: string, doneBytes: number, totalBytes: number) => void;

/** What is still to be fetched of a file. */
export interface Download {
  /** Where it will be on this machine; the same for files of equal content. */
  readonly path: string;
  readonly sizeBytes: number;
}

/** A folder of model files, on this machine or on the hub: names first, content when it is asked for. */
export interface ModelFolder {
  /** As the user named it. */
  readonly name: string;
  /** Paths of all files inside, relative, with `/`. */
  readonly files: ReadonlySet<string>;
  /** The commit that fixes all content of a folder on the hub; null for a folder on this machine. */
  readonly revision: string | null;
  /** What the user should know of how it was found; null if nothing. */
  readonly note: string | null;
  /** Path of one of the files on this machine; fetched first where it is not there yet. */
  path(file: string, onBytes?: OnBytes): Promise<string>;
  /** What is to be fetched before one of the files is on this machine; null where it is there. */
  download(file: string): Promise<Download | null>;
}

/**
 * A folder on this machine: its files and those of its subfolders, no deeper.
 *
 * @throws What the file system throws where it cannot be read.
 */
export async function localFolder(folder: string): Promise<ModelFolder> {
  const files = new Set<string>();
  for (const name of await readdir(folder)) {
    const found = await stat(join(folder, name)).catch((error) => {
      // A link that leads nowhere.
      if (error.code === "ENOENT") return null;
      throw error;
    });
    if (found?.isFile()) files.add(name);
    if (found?.isDirectory()) { for (const inner of await readdir(join(folder, name))) files.add(`${name}/${inner}`); }
  }
  return {
    name: folder,
    files,
    revision: null,
    note: null,
    path: (file) => Promise.resolve(join(folder, file)),
    download: () => Promise.resolve(null),
  };
}
