import { type FileHandle, open } from "node:fs/promises";
import { decodeFloat32, decodeInt32 } from "./element_types.ts";
import {
  LENGTH_FIELD_BYTES,
  parseHeader,
  readHeaderLength,
  SafetensorsError,
  type SafetensorsHeader,
  type TensorEntry,
} from "./safetensors_header.ts";

export { SafetensorsError, type SafetensorsFault, type TensorEntry } from "./safetensors_header.ts";
export { serializeSafetensors, type TensorData, writeSafetensors } from "./safetensors_writer.ts";

/** Somewhere to read bytes from; fails rather than giving fewer. */
interface ByteSource {
  read(startBytes: number, sizeBytes: number): Promise<Uint8Array<ArrayBuffer>>;
  close(): Promise<void>;
}

/**
 * A safetensors file open for reading: the header is read and checked at once, tensors one at a time when asked for.
 *
 * @example
 * ```ts
 * import { deepEqual } from "node:assert/strict";
 * const bytes = serializeSafetensors([{ name: "x", type: "U8", shape: [2], bytes: new Uint8Array([3, 4]) }]);
 * const file = await SafetensorsFile.fromBytes(bytes, "example");
 * deepEqual(await file.int32("x"), new Int32Array([3, 4]));
 * ```
 */
export class SafetensorsFile {
  /** Tensors by name, in the order of the data. */
  readonly tensors: ReadonlyMap<string, TensorEntry>;
  /** The file's notes, string to string; null if it has none. */
  readonly metadata: ReadonlyMap<string, string> | null;

  private constructor(readonly name: string, private readonly source: ByteSource, header: SafetensorsHeader) {
    this.tensors = header.tensors;
    this.metadata = header.metadata;
  }

  /**
   * Opens a file. Close it, or declare it with `await using`.
   *
   * @throws {SafetensorsError} If the file is not sound.
   * @throws What the file system throws where it cannot be opened.
   */
  static async open(path: string): Promise<SafetensorsFile> {
    const handle = await open(path, "r");
    try {
      return await SafetensorsFile.#fromSource(new FileSource(path, handle), (await handle.stat()).size, path);
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  /**
   * Reads from bytes in memory; tensors are copied out of them.
   *
   * @param name What to call the bytes in errors.
   * @throws {SafetensorsError} If the bytes are not a sound file.
   */
  static fromBytes(bytes: Uint8Array, name: string): Promise<SafetensorsFile> {
    return SafetensorsFile.#fromSource(new MemorySource(bytes), bytes.length, name);
  }

  static async #fromSource(source: ByteSource, fileBytes: number, name: string): Promise<SafetensorsFile> {
    const start = await source.read(0, Math.min(LENGTH_FIELD_BYTES, fileBytes));
    const length = readHeaderLength(start, fileBytes, name);
    const header = parseHeader(await source.read(LENGTH_FIELD_BYTES, length), fileBytes, name);
    return new SafetensorsFile(name, source, header);
  }

  /** @throws {SafetensorsError} If there is no tensor of that name. */
  entry(name: string): TensorEntry {
    const entry = this.tensors.get(name);
    if (entry !== undefined) return entry;
    const some = [...this.tensors.keys()].slice(0, 3).map((known) => JSON.stringify(known)).join(", ");
    const message = `the file has no such tensor; it has ${this.tensors.size}${some && `, such as ${some}`}`;
    throw new SafetensorsError("missing", this.name, name, message);
  }

  /**
   * A tensor's little-endian bytes, row-major, in a buffer of its own.
   *
   * @throws {SafetensorsError} If there is no such tensor, or the file has shrunk since it was opened.
   */
  bytes(name: string): Promise<Uint8Array<ArrayBuffer>> {
    const { startBytes, sizeBytes } = this.entry(name);
    return this.source.read(startBytes, sizeBytes);
  }

  /**
   * A floating-point tensor as float32, row-major. F16 and BF16 are exact, F64 is rounded.
   *
   * @throws {TypeError} If the tensor holds integers.
   * @throws {SafetensorsError} As {@link bytes}.
   */
  async float32(name: string): Promise<Float32Array<ArrayBuffer>> {
    return this.#decode(name, decodeFloat32, await this.bytes(name));
  }

  /**
   * An integer or BOOL tensor as int32, row-major.
   *
   * @throws {TypeError} If the tensor holds floating-point numbers.
   * @throws {RangeError} If an I64 element does not fit.
   * @throws {SafetensorsError} As {@link bytes}.
   */
  async int32(name: string): Promise<Int32Array<ArrayBuffer>> {
    return this.#decode(name, decodeInt32, await this.bytes(name));
  }

  #decode<T>(name: string, decode: (bytes: Uint8Array, type: TensorEntry["type"]) => T, bytes: Uint8Array): T {
    try {
      return decode(bytes, this.entry(name).type);
    } catch (error) {
      const message = `${this.name}, tensor ${JSON.stringify(name)}: ${(error as Error).message}`;
      throw error instanceof RangeError
        ? new RangeError(message, { cause: error })
        : new TypeError(message, { cause: error });
    }
  }

  /** Closes the file; tensors cannot be read any more. */
  close(): Promise<void> {
    return this.source.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

class FileSource implements ByteSource {
  constructor(readonly path: string, readonly handle: FileHandle) {}

  async read(startBytes: number, sizeBytes: number): Promise<Uint8Array<ArrayBuffer>> {
    const bytes = new Uint8Array(sizeBytes);
    let filled = 0;
    while (filled < sizeBytes) {
      const { bytesRead } = await this.handle.read(bytes, filled, sizeBytes - filled, startBytes + filled);
      if (bytesRead === 0) {
        const message = `the file ended at byte ${startBytes + filled}: it was shortened while it was open`;
        throw new SafetensorsError("truncated", this.path, null, message);
      }
      filled += bytesRead;
    }
    return bytes;
  }

  close(): Promise<void> {
    return this.handle.close();
  }
}

class MemorySource implements ByteSource {
  constructor(readonly content: Uint8Array) {}

  read(startBytes: number, sizeBytes: number): Promise<Uint8Array<ArrayBuffer>> {
    return Promise.resolve(new Uint8Array(this.content.subarray(startBytes, startBytes + sizeBytes)));
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}
