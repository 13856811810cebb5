import { rm, stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { makeFolder, tellingWriteErrors } from "../formats/write_errors.ts";
import { InputError } from "./step.ts";

/** Name of the lock file in a run folder. */
export const lockName = "run.lock";

/**
 * Keeps a second run out of a run folder until it is disposed.
 *
 * The operating system holds the lock and drops it when the process ends, however it ends: a stale lock cannot be. The
 * text in the file only serves the message. The file stays, as removing it could pull it from under the next holder.
 *
 * @param folder An existing folder; the lock is its file `run.lock`.
 * @throws {InputError} If another run, in this process or another, holds the lock.
 */
export async function lockFolder(folder: string): Promise<Disposable> {
  const path = join(folder, lockName);
  // Those who look whether a run works there hold it for a moment, and are no other run.
  for (let attempt = 0; attempt < 5; attempt++) {
    if (attempt > 0) await delay(20);
    const file = await openLocked(path);
    if (file) return file;
  }
  throw new InputError(
    `Cannot run in ${folder}: another run works there (${await readHolder(path)}); wait for it or stop it`,
  );
}

/** Whether a run works in a folder now, in this process or another; its lock is held for a moment to find out. */
export async function isRunning(folder: string): Promise<boolean> {
  const path = join(folder, lockName);
  try {
    // A named pipe would keep who looks waiting.
    if (!(await Deno.stat(path)).isFile) return false;
    using file = await Deno.open(path, { read: true });
    return !await file.tryLock(false);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/**
 * Keeps other runs from writing paths until it is disposed, whatever their run folders are. The locks are hidden files beside the paths; since users look
 * into those folders, they are taken away at the end, and whoever opened one before that notices.
 *
 * @param paths Files or folders, there or not; their folders are made.
 * @throws {InputError} If another run, in this process or another, holds one of them.
 */
export async function lockPaths(paths: readonly string[]): Promise<AsyncDisposable> {
  await using held = new AsyncDisposableStack();
  for (const path of new Set(paths.map((path) => resolve(path)))) {
    await makeFolder(dirname(path));
    const lock = join(dirname(path), `.${basename(path)}.lock`);
    let file = await openLocked(lock);
    while (file && !await isAt(file, lock)) {
      file.close();
      file = await openLocked(lock);
    }
    if (!file) {
      throw new InputError(
        `Cannot write ${path}: another run writes it (${await readHolder(lock)}); wait for it, stop it, or choose ` +
          "another name or folder",
      );
    }
    held.defer(async () => {
      // Windows removes no open file, and after closing it could be somebody else's.
      if (Deno.build.os !== "windows") await rm(lock, { force: true });
      file.close();
    });
  }
  return held.move();
}

/** Whether an open file is still the one at a path. */
async function isAt(file: Deno.FsFile, path: string): Promise<boolean> {
  const { ino } = await file.stat();
  return ino === null || await stat(path).then((found) => found.ino === ino, () => false);
}

/** Opens a file, locks it and writes who holds it; null if another holds it. */
async function openLocked(path: string): Promise<Deno.FsFile | null> {
  const opened = () => Deno.open(path, { read: true, write: true, create: true });
  const file = await tellingWriteErrors(path, () => 0, opened);
  if (!await file.tryLock(true)) {
    file.close();
    return null;
  }
  await file.truncate(0);
  const holder = { pid: Deno.pid, host: hostName(), since: new Date().toISOString() };
  await file.write(new TextEncoder().encode(JSON.stringify(holder) + "\n"));
  return file;
}

/** Who holds the lock, for a message. */
async function readHolder(path: string): Promise<string> {
  try {
    const { pid, host, since } = JSON.parse(await Deno.readTextFile(path));
    return `process ${pid} on ${host} since ${since}`;
  } catch {
    // Windows does not let others read a locked file, and the holder may not have written yet. The lock counts anyway.
    return `see ${path}`;
  }
}

function hostName(): string {
  // Without the permission to know it, the message does without it too.
  const { state } = Deno.permissions.querySync({ name: "sys", kind: "hostname" });
  return state === "granted" ? Deno.hostname() : "this or another machine";
}
