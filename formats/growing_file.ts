import { randomUUID } from "node:crypto";
import { type FileHandle, open, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { tellingWriteErrors } from "./write_errors.ts";
import { writeAll } from "./atomic_file.ts";

/** A file that others read while it grows. */
export class GrowingFile {
  private sizeBytes = 0;

  private constructor(private readonly path: string, private readonly file: FileHandle) {}

  /**
   * Begins a file; under its name it is never without its head. The folder must exist.
   *
   * @throws {DiskFullError} If there is no room for it.
   */
  static async create(path: string, head: Uint8Array): Promise<GrowingFile> {
    const hidden = join(dirname(path), `.${basename(path)}.tmp-${randomUUID()}`);
    const file = await tellingWriteErrors(path, () => head.length, () => open(hidden, "wx")),
      made = new GrowingFile(path, file);
    try {
      await made.append(head);
      await rename(hidden, path);
    } catch (error) {
      await file.close();
      await rm(hidden, { force: true });
      throw error;
    }
    return made;
  }

  /**
   * Adds bytes.
   *
   * @throws {DiskFullError} If there is no room for all of them: then the file ends where it did.
   */
  async append(bytes: Uint8Array): Promise<void> {
    const { path, file, sizeBytes } = this;
    await tellingWriteErrors(path, () => bytes.length, async () => {
      try {
        await writeAll(file, bytes, sizeBytes);
      } catch (error) {
        await file.truncate(sizeBytes);
        throw error;
      }
    });
    this.sizeBytes += bytes.length;
  }

  /** Ends it. */
  async close(): Promise<void> {
    await this.file.close();
  }
}
