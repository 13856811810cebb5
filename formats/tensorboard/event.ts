import { maskedCrc32c } from "./crc32c.ts";

/** A number at a step, as TensorBoard draws it. */
export interface Scalar {
  /** Name of the curve; what stands before a `/` groups curves. */
  readonly tag: string;
  readonly value: number;
}

/** Numbers of one step. */
export interface ScalarEvent {
  /** Seconds since 1970. */
  readonly wallTime: number;
  readonly step: number;
  readonly scalars: readonly Scalar[];
}

/** The first event of a file, by which readers know its version. */
export function fileVersion(wallTime: number): Uint8Array<ArrayBuffer> {
  return record([doubleField(1, wallTime), textField(3, "brain.Event:2")]);
}

/**
 * Numbers of one step as a record of an event file: TensorFlow's `Event` with a `Summary` of simple values.
 *
 * @see tensorboard/compat/proto/event.proto and summary.proto
 */
export function scalarRecord({ wallTime, step, scalars }: ScalarEvent): Uint8Array<ArrayBuffer> {
  const values = scalars.map(({ tag, value }) => bytesField(1, join([textField(1, tag), floatField(2, value)])));
  return record([doubleField(1, wallTime), integerField(2, step), bytesField(5, join(values))]);
}

/** A record: its length, the length's checksum, the data, their checksum. */
function record(fields: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const data = join(fields), length = new Uint8Array(8);
  new DataView(length.buffer).setBigUint64(0, BigInt(data.length), true);
  return join([length, uint32(maskedCrc32c(length)), data, uint32(maskedCrc32c(data))]);
}

// Protocol Buffers' encoding: a field is its number and wire type (0 varint, 1 eight bytes, 2 length and bytes, 5 four bytes), then its value.

function key(field: number, wireType: number): Uint8Array {
  return varint(field << 3 | wireType);
}

function varint(value: number): Uint8Array {
  const bytes: number[] = [];
  for (; value > 0x7f; value = Math.floor(value / 0x80)) bytes.push(value % 0x80 | 0x80);
  return Uint8Array.from([...bytes, value]);
}

function integerField(field: number, value: number): Uint8Array {
  return join([key(field, 0), varint(value)]);
}

function doubleField(field: number, value: number): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setFloat64(0, value, true);
  return join([key(field, 1), bytes]);
}

function floatField(field: number, value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setFloat32(0, value, true);
  return join([key(field, 5), bytes]);
}

function bytesField(field: number, bytes: Uint8Array): Uint8Array {
  return join([key(field, 2), varint(bytes.length), bytes]);
}

function textField(field: number, text: string): Uint8Array {
  return bytesField(field, new TextEncoder().encode(text));
}

function uint32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, true);
  return bytes;
}

function join(pieces: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let offset = 0;
  for (const piece of pieces) {
    whole.set(piece, offset);
    offset += piece.length;
  }
  return whole;
}
