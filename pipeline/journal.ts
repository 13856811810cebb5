import { closeSync, constants, fstatSync, lstatSync, openSync, readSync, rmSync, writeSync } from "node:fs";
import { join, relative, resolve } from "node:path";
import type { RunEvent } from "./events.ts";

/** Name of the file in a run folder that tells what happened there, a line of JSON for each event. */
export const journalName = "journal.jsonl";

/** Seconds between two reports of progress that are kept. */
const progressEverySeconds = 0.5;

/** An event as the journal has it: with the time, an error as its message, and paths of artifacts from the run folder. */
export type JournalLine =
  & {
    /** Seconds since 1970. */
    readonly time: number;
  }
  & Kept<RunEvent>;

type Kept<Event> = Event extends { readonly error: Error } ? Omit<Event, "error"> & { readonly message: string }
  : Event;

/**
 * Keeps what happens in a run, for those who watch it: the file grows while the run works, and a run that goes on writes behind what is there. Nothing is made
 * of it by later runs, so it is not flushed to the disk, and a run that cannot write it says so once and goes on.
 */
export class Journal implements Disposable {
  readonly #folder: string;
  readonly #warn: (message: string) => void;
  /** Null until the first event, and behind an error. */
  #file: number | null = null;
  #isOver = false;
  #lastProgress = { step: "", seconds: -Infinity };

  /** @param warn Hears that no more can be written. */
  constructor(folder: string, warn: (message: string) => void) {
    this.#folder = folder;
    this.#warn = warn;
  }

  /** Adds an event; of reports that come close behind one another only some. */
  note(event: RunEvent): void {
    const now = performance.now() / 1000;
    if (event.type === "progress") {
      const { step, seconds } = this.#lastProgress;
      if (step === event.step && event.done < event.total && now - seconds < progressEverySeconds) return;
      this.#lastProgress = { step: event.step, seconds: now };
    }
    this.#write(`${JSON.stringify(this.#line(event))}\n`);
  }

  [Symbol.dispose](): void {
    if (this.#file !== null) closeSync(this.#file);
    this.#file = null;
    this.#isOver = true;
  }

  #line(event: RunEvent): JournalLine {
    const time = Math.round(Date.now()) / 1000;
    if ("error" in event) {
      const { error, ...rest } = event;
      return { time, ...rest, message: error.message };
    }
    if (event.type === "artifact") return { time, ...event, path: relative(this.#folder, resolve(event.path)) };
    return { time, ...event };
  }

  #open(): number {
    this.#file = openOwn(join(this.#folder, journalName));
    // A run that was killed may have left half a line.
    if (!endsLine(this.#file)) writeSync(this.#file, "\n");
    return this.#file;
  }

  #write(text: string): void {
    if (this.#isOver) return;
    try {
      writeSync(this.#file ??= this.#open(), text);
    } catch (error) {
      this[Symbol.dispose]();
      const path = join(this.#folder, journalName);
      this.#warn(
        `${path} cannot be written any more: ${
          (error as Error).message
        }. The run goes on; its dashboard stays as it is`,
      );
    }
  }
}

/** Opens a file to read it and write behind what is there. A link in its place is replaced: it could lead anywhere. */
function openOwn(path: string): number {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found?.isSymbolicLink()) rmSync(path);
  // A named pipe would keep the run waiting once it is full.
  else if (found && !found.isFile()) throw new Error("it is no plain file; take it away");
  // Windows has no such flag.
  return openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_APPEND | (constants.O_NOFOLLOW ?? 0), 0o666);
}

/** Whether a file ends behind a line, or is empty. */
function endsLine(file: number): boolean {
  const { size } = fstatSync(file), last = new Uint8Array(1);
  return size === 0 || (readSync(file, last, 0, 1, size - 1) === 1 && last[0] === 10);
}
