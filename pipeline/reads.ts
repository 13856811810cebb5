import { AsyncLocalStorage } from "node:async_hooks";
import type { FileRecord } from "./hash.ts";

/** Who wants to know which files are hashed, in what is awaited below it. */
const listening = new AsyncLocalStorage<FileRecord[]>();

/** Runs something, and tells which files it hashed, in order: what a step's `fingerprint` reads are the step's inputs. */
export async function withReads<T>(body: () => T | Promise<T>): Promise<{ value: T; reads: readonly FileRecord[] }> {
  const reads: FileRecord[] = [];
  return { value: await listening.run(reads, async () => await body()), reads };
}

/** Tells whoever listens of a file that was hashed; `path` as it was asked for. */
export function noteRead(record: FileRecord): void {
  listening.getStore()?.push(record);
}
