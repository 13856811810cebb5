import { equal } from "node:assert/strict";

/** An event as it is read back. */
export interface ReadEvent {
  readonly wallTime: number;
  readonly step: number;
  readonly version?: string;
  readonly scalars: Readonly<Record<string, number>>;
}

/** CRC-32C bit by bit, by its definition: the remainder of the message times x³² by the polynomial, over reflected bytes. */
function crc32cByBits(bytes: Uint8Array): number {
  let remainder = 0xffffffffn;
  for (const byte of bytes) {
    remainder ^= BigInt(byte);
    for (let bit = 0; bit < 8; bit++) {
      remainder = remainder & 1n ? (remainder >> 1n) ^ 0x82f63b78n : remainder >> 1n;
    }
  }
  return Number(remainder ^ 0xffffffffn);
}

function maskedByBits(bytes: Uint8Array): number {
  const crc = BigInt(crc32cByBits(bytes)), turned = (crc >> 15n | crc << 17n) & 0xffffffffn;
  return Number((turned + 0xa282ead8n) & 0xffffffffn);
}

/** Fields of a Protocol Buffers message: numbers of eight and four bytes are floats here. */
function* fields(bytes: Uint8Array): Generator<[field: number, value: number | Uint8Array]> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  const varint = () => {
    for (let value = 0, factor = 1;; factor *= 128) {
      const byte = bytes[at++];
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) return value;
    }
  };
  while (at < bytes.length) {
    const key = varint(), field = key >> 3, start = at;
    switch (key & 7) {
      case 0:
        yield [field, varint()];
        break;
      case 1:
        at += 8;
        yield [field, view.getFloat64(start, true)];
        break;
      case 2: {
        const length = varint();
        at += length;
        yield [field, bytes.subarray(at - length, at)];
        break;
      }
      case 5:
        at += 4;
        yield [field, view.getFloat32(start, true)];
        break;
      default:
        throw new Error(`wire type ${key & 7}`);
    }
  }
  equal(at, bytes.length);
}

/** Reads an event file by the definition of its records and messages, checksums included. */
export function readEvents(file: Uint8Array): ReadEvent[] {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength), found: ReadEvent[] = [];
  for (let at = 0; at < file.length;) {
    const length = Number(view.getBigUint64(at, true));
    equal(view.getUint32(at + 8, true), maskedByBits(file.subarray(at, at + 8)), "checksum of a length");
    const data = file.subarray(at + 12, at + 12 + length);
    equal(data.length, length);
    equal(view.getUint32(at + 12 + length, true), maskedByBits(data), "checksum of a record");
    at += length + 16;
    found.push(readEvent(data));
  }
  return found;
}

function readEvent(data: Uint8Array): ReadEvent {
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  let event: ReadEvent = { wallTime: NaN, step: 0, scalars: {} };
  for (const [field, value] of fields(data)) {
    if (field === 1) event = { ...event, wallTime: value as number };
    if (field === 2) event = { ...event, step: value as number };
    if (field === 3) event = { ...event, version: text(value as Uint8Array) };
    if (field !== 5) continue;
    for (const [, summary] of fields(value as Uint8Array)) {
      const [[, tag], [, number]] = [...fields(summary as Uint8Array)];
      event = { ...event, scalars: { ...event.scalars, [text(tag as Uint8Array)]: number as number } };
    }
  }
  return event;
}
