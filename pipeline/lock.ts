import { join } from "node:path";

/**
 * Keeps a second run out of a run folder until it is disposed.
 *
 * The operating system holds the lock and drops it when the process ends, however it ends: a stale lock cannot be. The
 * text in the file only serves the message. The file stays, as removing it could pull it from under the next holder.
 *
 * @param folder An existing folder; the lock is its file `run.lock`.
 * @throws {Error} If another run, in this process or another, holds the lock.
 */
export async function lockFolder(folder: string): Promise<Disposable> {
  const path = join(folder, "run.lock");
  const file = await Deno.open(path, { read: true, write: true, create: true });
  if (!await file.tryLock(true)) {
    file.close();
    throw new Error(
      `Cannot run in ${folder}: another run works there (${await readHolder(path)}); wait for it or stop it`,
    );
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
