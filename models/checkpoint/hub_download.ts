import type { ListFileEntry } from "@huggingface/hub";
import { createHash, type Hash } from "node:crypto";
import { copyFile, mkdir, rename, stat, symlink } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { tellingWriteErrors } from "../../formats/write_errors.ts";
import type { Download, OnBytes } from "./model_folder.ts";

/** A file of the hub, and where the cache has it. */
export interface HubFile {
  readonly entry: ListFileEntry;
  /** The model's folder in the cache. */
  readonly folder: string;
  readonly commit: string;
}

/** A file of the hub to have in the cache. */
export interface WantedFile extends HubFile {
  /** Its content, for as much as is still to be fetched. */
  open(): Promise<Blob>;
}

/**
 * Path of a file in the cache, laid out as huggingface_hub does: content under `blobs`, by its hash, and links to it under `snapshots/<commit>`.
 * What is lacking is fetched and checked against the hash; what a stopped download left is kept and gone on from.
 *
 * @throws {Error} If what came is not what the hub lists. Nothing is kept of it then.
 */
export async function fetchIntoCache(wanted: WantedFile, onBytes?: OnBytes): Promise<string> {
  const { entry } = wanted, pointer = pointerOf(wanted);
  if (await isThere(pointer)) return pointer;
  const hash = hashOf(entry), blob = blobOf(wanted, hash);
  await mkdir(dirname(blob), { recursive: true });
  await mkdir(dirname(pointer), { recursive: true });
  const sizeBytes = () => sizeOf(entry);
  if (!await isThere(blob)) await tellingWriteErrors(blob, sizeBytes, () => download(wanted, blob, hash, onBytes));
  try {
    await symlink(relative(dirname(pointer), blob), pointer);
  } catch (error) {
    const { code } = error as { code?: string };
    // On Windows links need a privilege.
    if (code === "EPERM") await copyFile(blob, pointer);
    // Another process may have been faster.
    else if (code !== "EEXIST") throw error;
  }
  return pointer;
}

/** What the cache lacks of a file; null where it has all of it. */
export async function missingFromCache(file: HubFile): Promise<Download | null> {
  const path = blobOf(file, hashOf(file.entry));
  if (await isThere(pointerOf(file)) || await isThere(path)) return null;
  const begun = await stat(incompleteOf(path)).then(({ size }) => size, () => 0);
  return { path, sizeBytes: Math.max(0, sizeOf(file.entry) - begun) };
}

/** The link under which other programs find a file. */
function pointerOf({ entry, folder, commit }: HubFile): string {
  return join(folder, "snapshots", commit, entry.path);
}

function blobOf({ folder }: HubFile, hash: string): string {
  return join(folder, "blobs", hash);
}

/** What has come of a file whose download has not ended. */
function incompleteOf(blob: string): string {
  return `${blob}.incomplete`;
}

function hashOf({ path, lfs, oid }: ListFileEntry): string {
  const hash = lfs?.oid ?? oid;
  if (hash === undefined || !/^([0-9a-f]{40}|[0-9a-f]{64})$/.test(hash)) {
    throw new Error(
      `Cannot fetch ${path}: the hub lists it with the hash ${hash}, expected 40 or 64 hexadecimal digits`,
    );
  }
  return hash;
}

function sizeOf({ lfs, size }: ListFileEntry): number {
  return lfs?.size ?? size;
}

async function download({ entry, open }: WantedFile, blob: string, hash: string, onBytes?: OnBytes): Promise<void> {
  const { path } = entry, totalBytes = sizeOf(entry), incomplete = incompleteOf(blob);
  {
    using file = await Deno.open(incomplete, { read: true, write: true, create: true });
    // Another process that fetches the same is waited for.
    await file.lock(true);
    if (await isThere(blob)) return;
    const found = hasher(hash, totalBytes);
    let doneBytes = 0;
    const buffer = new Uint8Array(2 ** 20);
    for (let read = await file.read(buffer); read !== null; read = await file.read(buffer)) {
      found.update(buffer.subarray(0, read));
      doneBytes += read;
    }
    if (doneBytes < totalBytes) {
      const stream = (await open()).slice(doneBytes, totalBytes).stream();
      for await (const chunk of chunksOf(stream, () => `${path} after ${doneBytes} of ${totalBytes} bytes`)) {
        found.update(chunk);
        for (let at = 0; at < chunk.length;) at += await file.write(chunk.subarray(at));
        doneBytes += chunk.length;
        onBytes?.(path, doneBytes, totalBytes);
      }
    }
    const digest = found.digest("hex");
    if (doneBytes !== totalBytes || digest !== hash) {
      await file.truncate(0);
      throw new Error(
        `Cannot fetch ${path}: what came has ${doneBytes} bytes and the hash ${digest}, the hub lists ${totalBytes} and ${hash}. ` +
          "Run again to fetch it anew",
      );
    }
    await file.sync();
    // Still under the lock: whoever waits for it finds the whole file when its turn comes.
    await rename(incomplete, blob);
  }
}

/** A stream's chunks; where it breaks off, an error that says so. */
async function* chunksOf(stream: ReadableStream<Uint8Array>, where: () => string): AsyncGenerator<Uint8Array> {
  try {
    yield* stream;
  } catch (error) {
    const reason = error instanceof Error ? error.message : error;
    throw new Error(`Cannot fetch ${where()}: ${reason}. Run again to go on from there`, { cause: error });
  }
}

/** What computes a file's hash as the hub lists it: Git's own for small files, SHA-256 for large ones. */
function hasher(hash: string, sizeBytes: number): Hash {
  return hash.length === 64 ? createHash("sha256") : createHash("sha1").update(`blob ${sizeBytes}\0`);
}

async function isThere(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    if ((error as { code?: string }).code === "ENOENT") return false;
    throw error;
  }
}
