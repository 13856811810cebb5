import { GrowingFile } from "../growing_file.ts";
import { fileVersion, type ScalarEvent, scalarRecord } from "./event.ts";

/** A file of events that TensorBoard reads while it grows. */
export class EventFile {
  private constructor(private readonly file: GrowingFile) {}

  /**
   * Begins a file.
   *
   * @param path TensorBoard looks for `tfevents` in the name; the folder must exist, the file must not.
   * @param wallTime Seconds since 1970.
   */
  static async create(path: string, wallTime: number): Promise<EventFile> {
    return new EventFile(await GrowingFile.create(path, fileVersion(wallTime)));
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
    await this.file.append(whole);
  }

  /** Ends the file. */
  async close(): Promise<void> {
    await this.file.close();
  }
}
