/**
 * A cache of latents, in memory or on disk. It knows nothing of the VAE that makes them: whoever asks gives the key.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { removeOldLeftovers } from "../formats/atomic_folder.ts";
import { makeFolder } from "../formats/write_errors.ts";
import { encodeFloat32 } from "../formats/element_types.ts";
import type { PictureCut } from "./picture_cut.ts";
import { SafetensorsFile, type TensorData, writeSafetensors } from "../formats/safetensors.ts";

/** Raised when decoding, scaling or the cached files change their meaning: all older entries are then stale. */
const latentFormatVersion = 2;

/** All that a picture's latents depend on. */
export interface LatentSource {
  /** Content of the picture file. */
  readonly imageBytes: Uint8Array;
  /** How the picture is scaled and cut. */
  readonly cut: PictureCut;
  readonly isFlipped: boolean;
  /** Hash of the VAE's weights and settings. */
  readonly vaeHash: string;
  /** Pixels of the tiles that it is encoded in; left out where it is encoded whole. */
  readonly tile?: { readonly width: number; readonly height: number } | null;
}

/**
 * Key of a picture's latents: the SHA-256 of all they depend on, in hexadecimal. With another picture, size, cut or VAE
 * the key is another one, so an entry that is out of date is never found.
 *
 * @example
 * ```ts
 * import { equal, notEqual } from "node:assert/strict";
 * const source = {
 *   imageBytes: new Uint8Array([1, 2]), isFlipped: false, vaeHash: "a",
 *   cut: { scaled: { width: 80, height: 64 }, left: 8, top: 0, size: { width: 64, height: 64 } },
 * };
 * equal(latentKey(source).length, 64);
 * notEqual(latentKey({ ...source, isFlipped: true }), latentKey(source));
 * ```
 */
export function latentKey(source: LatentSource): string {
  const { imageBytes, cut: { scaled, left, top, size }, isFlipped, vaeHash, tile } = source;
  const imageHash = createHash("sha256").update(imageBytes).digest("hex");
  const cut = [scaled.width, scaled.height, left, top, size.width, size.height];
  const parts = [latentFormatVersion, imageHash, cut, isFlipped, vaeHash, ...(tile ? [tile.width, tile.height] : [])];
  return createHash("sha256").update(JSON.stringify(parts)).digest("hex");
}

/** A tensor of f32 values, row-major. */
export interface LatentTensor {
  readonly shape: readonly number[];
  readonly values: Float32Array<ArrayBuffer>;
}

/** What is cached for one picture, by name: `mean` and `logvar`, each `[height / 8, width / 8, 4]`. */
export type Latents = Readonly<Record<string, LatentTensor>>;

/**
 * What happened to an entry: `found` in memory or on disk, `missing`, `stored`, or `damaged` on disk (it is then
 * treated as missing, and replaced by the next `put`).
 */
export type LatentCacheEvent =
  | { readonly kind: "found"; readonly key: string; readonly place: "memory" | "disk" }
  | { readonly kind: "missing" | "stored"; readonly key: string }
  | { readonly kind: "damaged"; readonly key: string; readonly path: string; readonly reason: string };

/** Options of a {@linkcode LatentCache}. */
export interface LatentCacheOptions {
  /** Folder for the files, made when first needed; memory then holds none of them. Without it the cache lives in memory. */
  readonly folder?: string;
  /** Told of every event, damaged files above all. */
  readonly onEvent?: (event: LatentCacheEvent) => void;
}

/** Hash over names, shapes and values, which tells a damaged file from a sound one. */
function contentHash(latents: Latents): string {
  const hash = createHash("sha256");
  for (const name of Object.keys(latents).sort()) {
    const { shape, values } = latents[name];
    hash.update(JSON.stringify([name, shape])).update(encodeFloat32(values, "F32"));
  }
  return hash.digest("hex");
}

/**
 * Latents by key, in memory or, if a folder is given, in one safetensors file per picture. Files are written whole or
 * not at all, so several runs may share a folder at the same time; they carry a hash of their content: a damaged one is
 * reported and counts as missing.
 */
export class LatentCache {
  readonly #folder: string | undefined;
  readonly #onEvent: (event: LatentCacheEvent) => void;
  /** Used without a folder. */
  readonly #memory = new Map<string, Latents>();
  #isSwept = false;

  constructor(options: LatentCacheOptions = {}) {
    this.#folder = options.folder;
    this.#onEvent = options.onEvent ?? (() => {});
  }

  /** The cached latents, or `undefined` if there are none or their file is damaged. */
  async get(key: string): Promise<Latents | undefined> {
    const folder = this.#folder;
    const found = folder === undefined ? this.#memory.get(key) : await this.#readFile(key, this.#path(folder, key));
    this.#onEvent(
      found === undefined
        ? { kind: "missing", key }
        : { kind: "found", key, place: folder === undefined ? "memory" : "disk" },
    );
    return found;
  }

  /**
   * Stores latents.
   *
   * @throws {RangeError} If a value is not finite: such latents would spoil every later run.
   * @throws What the file system throws if the file cannot be written; no part of it stays.
   */
  async put(key: string, latents: Latents): Promise<void> {
    const tensors: TensorData[] = [];
    for (const [name, { shape, values }] of Object.entries(latents)) {
      const at = values.findIndex((value) => !Number.isFinite(value));
      if (at >= 0) throw new RangeError(`Cannot cache latents: ${name}[${at}] is ${values[at]}, must be finite`);
      tensors.push({ name, type: "F32", shape, bytes: new Uint8Array(encodeFloat32(values, "F32")) });
    }
    if (this.#folder === undefined) {
      this.#memory.set(key, latents);
    } else {
      await makeFolder(this.#folder);
      if (!this.#isSwept) await removeOldLeftovers(this.#folder);
      this.#isSwept = true;
      const metadata = new Map([["key", key], ["sha256", contentHash(latents)]]);
      await writeSafetensors(this.#path(this.#folder, key), tensors, { metadata });
    }
    this.#onEvent({ kind: "stored", key });
  }

  #path(folder: string, key: string): string {
    if (!/^[0-9a-f]{64}$/u.test(key)) {
      throw new TypeError(`Cannot find latents by the key ${JSON.stringify(key)}: it must be made by latentKey()`);
    }
    return join(folder, `${key}.safetensors`);
  }

  async #readFile(key: string, path: string): Promise<Latents | undefined> {
    let bytes: Uint8Array;
    try {
      bytes = await readFile(path);
    } catch (error) {
      if ((error as { code?: string }).code === "ENOENT") return undefined;
      throw error;
    }
    try {
      return await decodeEntry(bytes, key, path);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      this.#onEvent({ kind: "damaged", key, path, reason });
      return undefined;
    }
  }
}

/** Reads an entry and checks that it is the one asked for, whole and unchanged. */
async function decodeEntry(bytes: Uint8Array, key: string, path: string): Promise<Latents> {
  const file = await SafetensorsFile.fromBytes(bytes, path);
  if (file.metadata?.get("key") !== key) throw new TypeError(`${path} was written for another key`);
  const pairs: [string, LatentTensor][] = [];
  for (const { name, shape } of file.tensors.values()) pairs.push([name, { shape, values: await file.float32(name) }]);
  const latents = Object.fromEntries(pairs);
  const expected = file.metadata.get("sha256");
  const found = contentHash(latents);
  if (found !== expected) throw new TypeError(`${path} has content with hash ${found}, written was ${expected}`);
  return latents;
}
