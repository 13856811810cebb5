import { randomUUID } from "node:crypto";
import { type FileHandle, open, rename } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { fileVersion, type ScalarEvent, scalarRecord } from "./event.ts";

/** A file of events that TensorBoard reads while it grows. */
export class EventFile {
  private constructor(private readonly file: FileHandle) {}

  /**
   * Begins a file; under its name it is never without its head.
   *
   * @param path TensorBoard looks for `tfevents` in the name; the folder must exist, the file must not.
   * @param wallTime Seconds since 1970.
   */
  static async create(path: string, wallTime: number): Promise<EventFile> {
    const hidden = join(dirname(path), `.${basename(path)}.tmp-${randomUUID()}`), file = await open(hidden, "wx");
    await file.write(fileVersion(wallTime));
    await rename(hidden, path);
    return new EventFile(file);
  }

  /** Adds events in one go: a reader never waits for the rest of a record. */
  async append(events: readonly ScalarEvent[]): Promise<void> {
    const pieces = events.map(scalarRecord),
      whole = new Uint8Array(pieces.reduce((sum, { length }) => sum + length, 0));
    let offset = 0;
    for (const piece of pieces) {
      whole.set(piece, offset);
      offset += piece.length;
    }
    for (let written = 0; written < whole.length;) {
      written += (await this.file.write(whole, written, whole.length - written)).bytesWritten;
    }
  }

  /** Ends the file. */
  async close(): Promise<void> {
    await this.file.close();
  }
}
