import { createHash } from "node:crypto";
import { open, readFile, realpath, stat } from "node:fs/promises";
import { writeFileAtomically } from "../../formats/atomic_file.ts";
import { hashFile, noteRead } from "../../pipeline/mod.ts";

/** A file's SHA-256 and what it had when that was computed. */
interface KnownHash {
  readonly sizeBytes: number;
  /** Time of the last change, milliseconds since 1970. */
  readonly changedMs: number;
  readonly sha256: string;
}

/** Smaller files are hashed each time: it takes no time, and they may change twice within the clock's resolution. */
const smallestKeptBytes = 2 ** 24;

/** What this process has hashed, by real path. */
const known = new Map<string, KnownHash>();

/**
 * SHA-256 of a file's content. A large file is hashed once a process, as long as its size and its time of change stay the same.
 *
 * @throws What the file system throws where it cannot be read.
 */
export async function hashLargeFile(path: string): Promise<string> {
  const real = await realpath(path), { size, mtimeMs } = await stat(real), found = known.get(real);
  if (found?.sizeBytes === size && found.changedMs === mtimeMs) {
    noteRead({ path: real, sizeBytes: size, sha256: found.sha256 });
    return found.sha256;
  }
  const sha256 = await hashFile(real);
  if (size >= smallestKeptBytes) known.set(real, { sizeBytes: size, changedMs: mtimeMs, sha256 });
  return sha256;
}

/**
 * Runs something with the hashes that a file keeps between processes, and writes back what has come to them.
 *
 * @param file JSON. If it is not there, or not what was written, everything is hashed anew.
 */
export async function withKeptHashes<T>(file: string, body: () => Promise<T>): Promise<T> {
  const kept = await readKept(file);
  for (const [path, hash] of kept) if (!known.has(path)) known.set(path, hash);
  try {
    return await body();
  } finally {
    const text = JSON.stringify(Object.fromEntries(known), null, 1);
    if (known.size > 0 && text !== JSON.stringify(Object.fromEntries(kept), null, 1)) {
      await writeFileAtomically(file, [new TextEncoder().encode(text)]);
    }
  }
}

async function readKept(file: string): Promise<Map<string, KnownHash>> {
  let json: unknown;
  try {
    json = JSON.parse(await readFile(file, "utf8"));
  } catch (error) {
    if (error instanceof SyntaxError || (error as { code?: string }).code === "ENOENT") return new Map();
    throw error;
  }
  const isHash = (value: Partial<KnownHash> | null) =>
    Number.isInteger(value?.sizeBytes) && Number.isFinite(value?.changedMs) &&
    /^[0-9a-f]{64}$/.test(`${value?.sha256}`);
  return new Map(Object.entries(Object(json)).filter(([, value]) => isHash(Object(value))) as [string, KnownHash][]);
}

/**
 * The hashes by which sd-scripts' metadata names a base model: `ss_sd_model_hash` or `ss_vae_hash`, and their `new` forms.
 *
 * @returns `legacy`, the first 8 hexadecimal digits of the SHA-256 over bytes 0x100000 to 0x10FFFF, and `sha256` of the whole file; its words
 * where there is a folder or nothing.
 */
export async function kohyaModelHashes(path: string): Promise<{ legacy: string; sha256: string }> {
  const found = await stat(path).catch((error) => {
    if (error.code === "ENOENT") return null;
    throw error;
  });
  if (!found?.isFile()) {
    const word = found ? "IsADirectory" : "NOFILE";
    return { legacy: word, sha256: word };
  }
  const bytes = new Uint8Array(0x10000);
  const file = await open(path);
  try {
    let filled = 0;
    for (let read = -1; read !== 0 && filled < bytes.length; filled += read) {
      read = (await file.read(bytes, filled, bytes.length - filled, 0x100000 + filled)).bytesRead;
    }
    const legacy = createHash("sha256").update(bytes.subarray(0, filled)).digest("hex").slice(0, 8);
    return { legacy, sha256: await hashLargeFile(path) };
  } finally {
    await file.close();
  }
}
