import { decodeFloat32, decodeInt32, type ElementType } from "./element_types.ts";

/** What a tensor of a file is. */
export interface TensorInfo {
  readonly name: string;
  readonly type: ElementType;
  readonly shape: readonly number[];
  /** Bytes of all its elements. */
  readonly sizeBytes: number;
}

/** A part of a tensor's bytes: `sizeBytes` from `startBytes` on. */
export interface ByteRange {
  readonly startBytes: number;
  readonly sizeBytes: number;
}

/** How a file of tensors is laid out: safetensors, PyTorch's zip files, or PyTorch's files from before version 1.6. */
export type TensorFileFormat = "safetensors" | "torch zip" | "torch legacy";

/** A file of tensors that cannot be read. The message names file, tensor, what was found and what was expected. */
export class TensorFileError extends Error {
  override name = "TensorFileError";

  constructor(
    /** What is wrong, in a word; `missing` where there is no tensor of the name asked for. */
    readonly fault: string,
    /** The file's path, or what the caller called the bytes. */
    readonly file: string,
    /** The tensor at fault, or null where the file as a whole is. */
    readonly tensor: string | null,
    message: string,
    options?: ErrorOptions,
  ) {
    super(`Cannot read ${file}${tensor === null ? "" : `, tensor ${JSON.stringify(tensor)}`}: ${message}`, options);
  }
}

/**
 * A file of named tensors, open for reading: names, types and shapes are known at once, tensors are read from the disk
 * one at a time when asked for. `openTensorFile` opens one of any format.
 */
export abstract class TensorFile<Info extends TensorInfo = TensorInfo> implements AsyncDisposable {
  /** How the file is laid out. */
  abstract readonly format: TensorFileFormat;
  /** Tensors by name. */
  abstract readonly tensors: ReadonlyMap<string, Info>;
  /** The file's notes, string to string; null if it has none. */
  abstract readonly metadata: ReadonlyMap<string, string> | null;

  /** @param path The file's path, or what to call it in errors. */
  constructor(readonly path: string) {}

  /** @throws {TensorFileError} If there is no tensor of that name. */
  entry(name: string): Info {
    const entry = this.tensors.get(name);
    if (entry !== undefined) return entry;
    const some = [...this.tensors.keys()].slice(0, 3).map((known) => JSON.stringify(known)).join(", ");
    const message = `the file has no such tensor; it has ${this.tensors.size}${some && `, such as ${some}`}`;
    throw new TensorFileError("missing", this.path, name, message);
  }

  /**
   * A tensor's little-endian bytes, row-major, in a buffer of its own.
   *
   * @param range Which of them; all when left out. Large tensors can so be read in parts.
   * @throws {TensorFileError} If there is no such tensor, or the file is not what it was when it was opened.
   * @throws {RangeError} If the range reaches past the tensor.
   */
  bytes(name: string, range?: ByteRange): Promise<Uint8Array<ArrayBuffer>> {
    const info = this.entry(name);
    const { startBytes, sizeBytes } = range ?? { startBytes: 0, sizeBytes: info.sizeBytes };
    const areWhole = Number.isSafeInteger(startBytes) && Number.isSafeInteger(sizeBytes);
    if (!areWhole || startBytes < 0 || sizeBytes < 0 || startBytes + sizeBytes > info.sizeBytes) {
      throw new RangeError(
        `${this.path}, tensor ${JSON.stringify(name)}: asked for ${sizeBytes} bytes from ${startBytes}, ` +
          `but it has ${info.sizeBytes}`,
      );
    }
    return this.readBytes(info, { startBytes, sizeBytes });
  }

  /** Reads a part of a tensor; the range was checked. */
  protected abstract readBytes(info: Info, range: ByteRange): Promise<Uint8Array<ArrayBuffer>>;

  /**
   * A floating-point tensor as float32, row-major. F16 and BF16 are exact, F64 is rounded.
   *
   * @throws {TypeError} If the tensor holds integers.
   * @throws {TensorFileError} As {@link bytes}.
   */
  async float32(name: string): Promise<Float32Array<ArrayBuffer>> {
    return this.#decode(name, decodeFloat32, await this.bytes(name));
  }

  /**
   * An integer or BOOL tensor as int32, row-major.
   *
   * @throws {TypeError} If the tensor holds floating-point numbers.
   * @throws {RangeError} If an I64 element does not fit.
   * @throws {TensorFileError} As {@link bytes}.
   */
  async int32(name: string): Promise<Int32Array<ArrayBuffer>> {
    return this.#decode(name, decodeInt32, await this.bytes(name));
  }

  #decode<T>(name: string, decode: (bytes: Uint8Array, type: ElementType) => T, bytes: Uint8Array): T {
    try {
      return decode(bytes, this.entry(name).type);
    } catch (error) {
      const message = `${this.path}, tensor ${JSON.stringify(name)}: ${(error as Error).message}`;
      throw error instanceof RangeError
        ? new RangeError(message, { cause: error })
        : new TypeError(message, { cause: error });
    }
  }

  /** Closes the file; tensors cannot be read any more. */
  abstract close(): Promise<void>;

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
