import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { join, relative, sep } from "node:path";
import { checkPlainFile } from "../formats/plain_file.ts";
import { noteRead } from "./reads.ts";

/** One file as a manifest records it. */
export interface FileRecord {
  /** Path with forward slashes, relative to the folder that the record is about. */
  readonly path: string;
  readonly sizeBytes: number;
  /** SHA-256 of the content, 64 hexadecimal digits. */
  readonly sha256: string;
}

/**
 * Text of plain JSON data that is the same for equal data: keys sorted, no spaces, members that are `undefined` left out.
 *
 * @param name What the data is called in errors, the start of a path such as `options.rate`.
 * @param owner What it belongs to, for errors: `step 'train'`.
 * @throws {TypeError} If something in it is not plain JSON data: a function, a class's object, NaN, a cycle.
 * @example
 * ```ts
 * import { equal } from "node:assert/strict";
 * equal(canonicalJson({ b: [1, null], a: undefined, A: "x" }, "options"), '{"A":"x","b":[1,null]}');
 * ```
 */
export function canonicalJson(value: unknown, name: string, owner?: string): string {
  const write = (value: unknown, name: string, parents: readonly unknown[]): string => {
    const fail = (found: string) => {
      const where = owner === undefined ? name : `${name} of ${owner}`;
      return new TypeError(
        `Cannot write ${where} as JSON: it is ${found}; use text, finite numbers, lists, plain objects`,
      );
    };
    if (value === null || typeof value === "boolean" || typeof value === "string") return JSON.stringify(value);
    if (typeof value === "number" && Number.isFinite(value)) return JSON.stringify(value);
    if (typeof value === "function") throw fail("a function");
    if (typeof value !== "object") throw fail(String(value));
    if (parents.includes(value)) throw fail("part of itself");
    const inner = [...parents, value];
    if (Array.isArray(value)) return `[${value.map((item, i) => write(item, `${name}[${i}]`, inner)).join(",")}]`;
    const prototype = Object.getPrototypeOf(value);
    if (prototype !== Object.prototype && prototype !== null) throw fail(`a ${prototype.constructor?.name}`);
    const members = Object.entries(value).filter(([, member]) => member !== undefined);
    members.sort(([a], [b]) => a < b ? -1 : 1);
    return `{${members.map(([key, v]) => `${JSON.stringify(key)}:${write(v, `${name}.${key}`, inner)}`).join(",")}}`;
  };
  return write(value, name, []);
}

/** SHA-256 of a text's UTF-8 bytes, 64 hexadecimal digits. */
export function hashText(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

/** SHA-256 of plain JSON data, whatever the order of its keys. Throws as {@link canonicalJson} does. */
export function hashJson(value: unknown, name = "value"): string {
  return hashText(canonicalJson(value, name));
}

/** Files up to this size are read at once: hundreds of thousands of pictures take a third of the time that streams take. */
const readAtOnceBytes = 2 ** 22;

/**
 * SHA-256 of a file's content, 64 hexadecimal digits; a large file is streamed. In a step's `fingerprint` the file becomes one of the inputs that the run's
 * record names.
 */
export async function hashFile(path: string): Promise<string> {
  const hash = createHash("sha256"), { size: sizeBytes } = await checkPlainFile(path);
  if (sizeBytes <= readAtOnceBytes) hash.update(await Deno.readFile(path));
  else for await (const chunk of createReadStream(path)) hash.update(chunk);
  const sha256 = hash.digest("hex");
  noteRead({ path, sizeBytes, sha256 });
  return sha256;
}

/**
 * Records every file in a folder and its subfolders, sorted by path. Also a step's `fingerprint` of a folder it reads.
 *
 * @param options.followLinks Links to files count as the files they lead to: for folders that users put together. Refused when left out.
 * @throws {TypeError} If the folder holds a link, or anything else that is neither file nor folder.
 */
export async function recordFolder(folder: string, options: { followLinks?: boolean } = {}): Promise<FileRecord[]> {
  const records: FileRecord[] = [];
  for (const entry of await readdir(folder, { withFileTypes: true, recursive: true })) {
    const path = join(entry.parentPath, entry.name);
    if (entry.isDirectory()) continue;
    const isFile = entry.isFile() || (options.followLinks && entry.isSymbolicLink() && (await stat(path)).isFile());
    if (!isFile) throw new TypeError(`Cannot record ${path}: it is a link or a special file, not a plain file`);
    records.push(await recordFile(path, folder));
  }
  return records.sort((a, b) => a.path < b.path ? -1 : 1);
}

/** Records one file; its path is written relative to a folder. */
export async function recordFile(path: string, folder: string): Promise<FileRecord> {
  const { size } = await stat(path);
  return { path: relative(folder, path).split(sep).join("/"), sizeBytes: size, sha256: await hashFile(path) };
}

/** What is wrong with recorded files as they are now, as half a sentence; `undefined` if all are whole. */
export async function findDamage(records: readonly FileRecord[], folder: string): Promise<string | undefined> {
  for (const record of records) {
    const path = join(folder, record.path);
    const found = await stat(path).catch((error) => {
      if (error.code === "ENOENT") return undefined;
      throw error;
    });
    if (found === undefined) return `${path} is missing`;
    if (found.size !== record.sizeBytes) return `${path} has ${found.size} bytes, not ${record.sizeBytes}`;
    if (await hashFile(path) !== record.sha256) return `${path} has been changed`;
  }
  return undefined;
}
