import { type ByteSource, memorySource, openFileSource } from "./byte_source.ts";
import {
  LENGTH_FIELD_BYTES,
  parseHeader,
  readHeaderLength,
  type SafetensorsHeader,
  type TensorEntry,
} from "./safetensors_header.ts";
import { type ByteRange, TensorFile } from "./tensor_file.ts";

export { SafetensorsError, type SafetensorsFault, type TensorEntry } from "./safetensors_header.ts";
export { serializeSafetensors, writeSafetensors } from "./safetensors_writer.ts";
export type { TensorData, TensorSource } from "./tensor_data.ts";

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
export class SafetensorsFile extends TensorFile<TensorEntry> {
  override readonly format = "safetensors";
  /** Tensors by name, in the order of the data. */
  override readonly tensors: ReadonlyMap<string, TensorEntry>;
  override readonly metadata: ReadonlyMap<string, string> | null;

  private constructor(path: string, private readonly source: ByteSource, header: SafetensorsHeader) {
    super(path);
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
    const source = await openFileSource(path);
    try {
      return await SafetensorsFile.fromSource(source, path);
    } catch (error) {
      await source.close();
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
    return SafetensorsFile.fromSource(memorySource(bytes, name), name);
  }

  /**
   * Reads from a source, which the file then owns.
   *
   * @param name What to call it in errors.
   * @throws {SafetensorsError} If it is not a sound file; the source is then still open.
   */
  static async fromSource(source: ByteSource, name: string): Promise<SafetensorsFile> {
    const fileBytes = source.sizeBytes;
    const start = await source.read(0, Math.min(LENGTH_FIELD_BYTES, fileBytes));
    const length = readHeaderLength(start, fileBytes, name);
    const header = parseHeader(await source.read(LENGTH_FIELD_BYTES, length), fileBytes, name);
    return new SafetensorsFile(name, source, header);
  }

  protected override readBytes(entry: TensorEntry, range: ByteRange): Promise<Uint8Array<ArrayBuffer>> {
    return this.source.read(entry.startBytes + range.startBytes, range.sizeBytes);
  }

  override close(): Promise<void> {
    return this.source.close();
  }
}
