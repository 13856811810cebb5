import { Fault } from "./error.ts";

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const maxLineBytes = 1024;

/** A cursor over the bytes of a pickle. Lengths are checked against what is left before anything is made of them. */
export class PickleBytes {
  position = 0;
  readonly #view: DataView;

  constructor(private readonly bytes: Uint8Array) {
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** Bytes behind the cursor. */
  get left(): number {
    return this.bytes.length - this.position;
  }

  uint8(): number {
    return this.#view.getUint8(this.#advance(1));
  }

  uint16(): number {
    return this.#view.getUint16(this.#advance(2), true);
  }

  uint32(): number {
    return this.#view.getUint32(this.#advance(4), true);
  }

  int32(): number {
    return this.#view.getInt32(this.#advance(4), true);
  }

  /** A 64-bit length; what is larger than 2^53 is rounded, and too long for every file. */
  uint64(): number {
    return Number(this.#view.getBigUint64(this.#advance(8), true));
  }

  /** Python's BINFLOAT, the one number with the high byte first. */
  float64(): number {
    return this.#view.getFloat64(this.#advance(8), false);
  }

  /** The next bytes; they share the memory of the pickle. */
  take(sizeBytes: number): Uint8Array {
    const start = this.#advance(sizeBytes);
    return this.bytes.subarray(start, start + sizeBytes);
  }

  text(sizeBytes: number): string {
    const bytes = this.take(sizeBytes);
    try {
      return utf8.decode(bytes);
    } catch (error) {
      throw new Fault("pickle", "a text is not UTF-8", { cause: error });
    }
  }

  /** A text up to the end of the line. */
  line(): string {
    const end = this.bytes.indexOf(0x0a, this.position);
    const sizeBytes = (end < 0 ? this.bytes.length : end) - this.position;
    if (sizeBytes > maxLineBytes) throw new Fault("pickle", `a name has more than ${maxLineBytes} bytes`);
    if (end < 0) throw new Fault("truncated", "it ends within a name");
    const text = this.text(sizeBytes);
    this.position = end + 1;
    return text;
  }

  /** A two's-complement integer, low byte first. */
  integer(sizeBytes: number): bigint {
    let value = 0n;
    for (const byte of this.take(sizeBytes).toReversed()) value = value << 8n | BigInt(byte);
    return BigInt.asIntN(8 * sizeBytes, value);
  }

  #advance(sizeBytes: number): number {
    if (sizeBytes > this.left) {
      throw new Fault("truncated", `it wants ${sizeBytes} more bytes, but ${this.left} are left`);
    }
    const start = this.position;
    this.position += sizeBytes;
    return start;
  }
}
