import type { ElementType } from "../element_types.ts";

const storageNames: Readonly<Record<ElementType, string>> = {
  F64: "DoubleStorage",
  F32: "FloatStorage",
  F16: "HalfStorage",
  BF16: "BFloat16Storage",
  I64: "LongStorage",
  I32: "IntStorage",
  I16: "ShortStorage",
  I8: "CharStorage",
  U8: "ByteStorage",
  BOOL: "BoolStorage",
};

/** PyTorch's name of a storage of elements of a type. */
export function storageName(type: ElementType): string {
  return storageNames[type];
}

/** Writes what a checkpoint's pickle consists of, in protocol 2, as `torch.save()` does. */
export class PickleWriter {
  readonly #pieces: Uint8Array[] = [];

  constructor() {
    this.#put([0x80, 2]); // PROTO
  }

  /** The pickle; nothing can be added afterwards. */
  finish(): Uint8Array<ArrayBuffer> {
    this.#code(".");
    const whole = new Uint8Array(this.#pieces.reduce((total, piece) => total + piece.length, 0));
    let offset = 0;
    for (const piece of this.#pieces) {
      whole.set(piece, offset);
      offset += piece.length;
    }
    return whole;
  }

  text(text: string): void {
    const bytes = new TextEncoder().encode(text);
    this.#code("X");
    this.#uint32(bytes.length);
    this.#pieces.push(bytes);
  }

  /** @param value A whole number below 2^53, not negative. */
  integer(value: number): void {
    if (value < 2 ** 8) {
      this.#put(["K".charCodeAt(0), value]);
    } else if (value < 2 ** 31) {
      this.#code("J");
      this.#uint32(value);
    } else {
      this.#put([0x8a, 8]); // LONG1
      this.#pieces.push(new Uint8Array(new BigUint64Array([BigInt(value)]).buffer));
    }
  }

  /** A function or class by name. */
  global(module: string, member: string): void {
    this.#code(`c${module}\n${member}\n`);
  }

  /** A tuple of what `items` writes. */
  tuple(items: () => void): void {
    this.#code("(");
    items();
    this.#code("t");
  }

  /** A dict of what `items` writes, keys and values in turn. */
  dict(items: () => void): void {
    this.#code("}(");
    items();
    this.#code("u");
  }

  false(): void {
    this.#put([0x89]);
  }

  /** Calls what was written last but one with the tuple that was written last. */
  call(): void {
    this.#code("R");
  }

  /** Makes the tuple that was written last the name of something outside of the pickle. */
  persistentId(): void {
    this.#code("Q");
  }

  #code(text: string): void {
    this.#pieces.push(new TextEncoder().encode(text));
  }

  #put(bytes: readonly number[]): void {
    this.#pieces.push(Uint8Array.from(bytes));
  }

  #uint32(value: number): void {
    this.#pieces.push(new Uint8Array(new Uint32Array([value]).buffer));
  }
}
