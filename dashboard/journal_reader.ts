import { open, stat } from "node:fs/promises";
import { join } from "node:path";
import { type JournalLine, journalName } from "../pipeline/mod.ts";
import { RunStory } from "./run_view.ts";

/** Bytes read at once. */
const pieceBytes = 1 << 20;

/** Follows the journal of one run folder as it grows. */
export class JournalReader {
  story = new RunStory();
  private readonly path: string;
  private read = 0;
  private file: number | null = null;
  /** Bytes of a line whose end is not there yet. */
  private rest = new Uint8Array();

  constructor(folder: string) {
    this.path = join(folder, journalName);
  }

  /** Reads what has come since the last time; begins anew where the file is another one or has shrunk. */
  async update(): Promise<void> {
    const { size, ino } = await stat(this.path);
    if (ino !== this.file || size < this.read) {
      this.story = new RunStory();
      this.read = 0;
      this.rest = new Uint8Array();
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
    const bytes = new Uint8Array(this.rest.length + piece.length);
    bytes.set(this.rest);
    bytes.set(piece, this.rest.length);
    const end = bytes.lastIndexOf(10) + 1;
    this.rest = bytes.slice(end);
    for (const text of new TextDecoder().decode(bytes.subarray(0, end)).split("\n")) {
      const line = parseLine(text);
      try {
        if (line) this.story.add(line);
      } catch (error) {
        // Written by another version, or by somebody else: one line less to show.
        this.story.say(line!.time, "warning", `a line of the journal cannot be shown: ${(error as Error).message}`);
      }
    }
  }
}

/** A line of a journal; null for what a run that was killed has left of one. */
export function parseLine(text: string): JournalLine | null {
  try {
    const line = JSON.parse(text);
    return typeof line?.type === "string" && typeof line.time === "number" ? line : null;
  } catch {
    return null;
  }
}
