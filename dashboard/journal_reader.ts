import { lstat, open } from "node:fs/promises";
import { Buffer } from "node:buffer";
import { join } from "node:path";
import { SpecialFileError } from "../formats/plain_file.ts";
import { type JournalLine, journalName } from "../pipeline/mod.ts";
import { RunStory } from "./run_view.ts";

/** Bytes read at once. */
const pieceBytes = 1 << 20;
/** Bytes of a line that no run writes: the longest tells the figures of a step, or paths. */
const tooLongBytes = 16 << 20;

/** Follows the journal of one run folder as it grows. */
export class JournalReader {
  story = new RunStory();
  private readonly path: string;
  private read = 0;
  private file: number | null = null;
  /** Pieces of a line whose end is not there yet, and their bytes. */
  private rest: Uint8Array[] = [];
  private restBytes = 0;

  constructor(folder: string) {
    this.path = join(folder, journalName);
  }

  /** Reads what has come since the last time; begins anew where the file is another one or has shrunk. */
  async update(): Promise<void> {
    // A link that took its place could lead anywhere.
    const found = await lstat(this.path), { size, ino } = found;
    if (!found.isFile()) throw new SpecialFileError(this.path, "link or folder");
    if (ino !== this.file || size < this.read) {
      this.story = new RunStory();
      this.read = 0;
      this.rest = [];
      this.restBytes = 0;
      this.file = ino;
    }
    if (size === this.read) return;
    const handle = await open(this.path, "r");
    try {
      while (this.read < size) {
        const piece = new Uint8Array(Math.min(pieceBytes, size - this.read));
        const { bytesRead } = await handle.read(piece, 0, piece.length, this.read);
        if (bytesRead === 0) break;
        this.read += bytesRead;
        this.take(piece.subarray(0, bytesRead));
      }
    } finally {
      await handle.close();
    }
  }

  private take(piece: Uint8Array): void {
    let from = 0;
    for (let end = piece.indexOf(10); end >= 0; from = end + 1, end = piece.indexOf(10, from)) {
      this.keep(piece.subarray(from, end));
      this.endLine();
    }
    this.keep(piece.subarray(from));
  }

  /** Of a line that is too long its length alone is kept. */
  private keep(piece: Uint8Array): void {
    this.restBytes += piece.length;
    if (this.restBytes > tooLongBytes) this.rest = [];
    else this.rest.push(piece);
  }

  private endLine(): void {
    const { restBytes, rest } = this;
    this.rest = [];
    this.restBytes = 0;
    const fail = (time: number, problem: string) =>
      this.story.say(time, "warning", `a line of the journal cannot be shown: ${problem}`);
    if (restBytes > tooLongBytes) return fail(this.story.changedAt, `it has ${restBytes} bytes`);
    const line = parseLine(new TextDecoder().decode(Buffer.concat(rest)));
    try {
      if (line) this.story.add(line);
    } catch (error) {
      // Written by another version, or by somebody else: one line less to show.
      fail(line!.time, (error as Error).message);
    }
  }
}

/** A line of a journal; null for what a run that was killed has left of one. */
function parseLine(text: string): JournalLine | null {
  try {
    const line = JSON.parse(text);
    return typeof line?.type === "string" && typeof line.time === "number" ? line : null;
  } catch {
    return null;
  }
}
