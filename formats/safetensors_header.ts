import { DuplicateNameError, JsonNumber, type JsonObject, type JsonValue, parseStrictJson } from "./strict_json.ts";
import { countElements, ELEMENT_SIZE_BYTES, type ElementType, isElementType } from "./element_types.ts";
import { TensorFileError, type TensorInfo } from "./tensor_file.ts";

/** What is wrong with a safetensors file. */
export type SafetensorsFault =
  /** The file ends before the header or the data does. */
  | "truncated"
  /** The length of the header is impossible. */
  | "header"
  /** The header is not the JSON that is asked for. */
  | "json"
  /** A name stands twice. */
  | "duplicate"
  /** The metadata is not string to string. */
  | "metadata"
  /** An element type that is not read here. */
  | "dtype"
  /** Dimensions that are not whole numbers from 0 on, or too large. */
  | "shape"
  /** Shape times element size is not the length of the byte range. */
  | "size"
  /** Byte ranges that overlap, leave holes or run backwards. */
  | "offsets"
  /** Bytes after the last tensor. */
  | "trailing";

/** A safetensors file that cannot be trusted. The message names file, tensor, what was found and what was expected. */
export class SafetensorsError extends TensorFileError {
  override name = "SafetensorsError";

  constructor(
    override readonly fault: SafetensorsFault,
    file: string,
    tensor: string | null,
    message: string,
    options?: ErrorOptions,
  ) {
    super(fault, file, tensor, message, options);
  }
}

/** Where a tensor lies in a safetensors file and what it is. */
export interface TensorEntry extends TensorInfo {
  /** Offset of the first byte from the start of the file. */
  readonly startBytes: number;
}

/** The checked header of a safetensors file. */
export interface SafetensorsHeader {
  /** By name, in the order of the data. */
  readonly tensors: ReadonlyMap<string, TensorEntry>;
  /** As written; null if the file has none. */
  readonly metadata: ReadonlyMap<string, string> | null;
}

/** Bytes of the number in front that gives the length of the header. */
export const LENGTH_FIELD_BYTES = 8;
const MAX_HEADER_BYTES = 100_000_000;
const METADATA = "__metadata__";
const MEMBERS = ["dtype", "shape", "data_offsets"];

/**
 * Length of the header from the file's first bytes.
 *
 * @param start The first 8 bytes, or all of a shorter file.
 * @param fileBytes Size of the whole file.
 * @throws {SafetensorsError} If the length is 0, above 100,000,000, or reaches past the end of the file.
 */
export function readHeaderLength(start: Uint8Array, fileBytes: number, file: string): number {
  const fail = (fault: SafetensorsFault, message: string) => new SafetensorsError(fault, file, null, message);
  if (start.length < LENGTH_FIELD_BYTES) {
    throw fail("truncated", `the file has ${fileBytes} bytes, expected at least ${LENGTH_FIELD_BYTES}; get it again`);
  }
  const length = new DataView(start.buffer, start.byteOffset).getBigUint64(0, true);
  const letters = String.fromCharCode(...start.subarray(0, 4));
  if (letters === "PK\x03\x04") {
    throw fail("header", "this is a zip file, probably a PyTorch checkpoint (.ckpt, .pt); expected a safetensors file");
  }
  if (length === 0n || length > MAX_HEADER_BYTES) {
    throw fail(
      "header",
      `the header's length is ${length} bytes, expected 1 to ${MAX_HEADER_BYTES}; ` +
        `the file starts with ${JSON.stringify(letters)}, which is no safetensors file`,
    );
  }
  const rest = fileBytes - LENGTH_FIELD_BYTES;
  if (Number(length) > rest) {
    throw fail("truncated", `the header has ${length} bytes, but only ${rest} follow; get the file again`);
  }
  return Number(length);
}

/**
 * Parses and checks a header.
 *
 * Stricter than the format's own library where that is lax: names must differ, integers must be written as integers,
 * tensors have no other members. Ranges must follow one another from the first byte of the data to the last.
 *
 * @param header The header's bytes, without the length in front.
 * @param fileBytes Size of the whole file.
 * @throws {SafetensorsError} If anything is not as the format wants it.
 */
export function parseHeader(header: Uint8Array, fileBytes: number, file: string): SafetensorsHeader {
  const root = parseRoot(header, file);
  const metadata = root.has(METADATA) ? parseMetadata(root.get(METADATA)!, file) : null;
  root.delete(METADATA);
  const dataStart = LENGTH_FIELD_BYTES + header.length;
  const entries = [...root].map(([name, value]) => parseTensor(name, value, dataStart, file));
  // An empty tensor shares its offset with the next one, so it goes first.
  entries.sort((a, b) => a.startBytes - b.startBytes || a.sizeBytes - b.sizeBytes);
  let end = dataStart;
  for (const { name, startBytes, sizeBytes } of entries) {
    if (startBytes !== end) {
      const [found, wanted] = [startBytes - dataStart, end - dataStart];
      const what = found < wanted ? "overlaps the tensor before it" : "leaves a hole before it";
      throw new SafetensorsError("offsets", file, name, `it starts at ${found} and ${what}, expected ${wanted}`);
    }
    end += sizeBytes;
  }
  if (end !== fileBytes) {
    const [found, wanted] = [fileBytes - dataStart, end - dataStart];
    const fault = found < wanted ? "truncated" : "trailing";
    throw new SafetensorsError(
      fault,
      file,
      null,
      `the file holds ${found} bytes of data, but its tensors have ${wanted}; get the file again`,
    );
  }
  return { tensors: new Map(entries.map((entry) => [entry.name, entry])), metadata };
}

function parseRoot(header: Uint8Array, file: string): JsonObject {
  const fail = (message: string, options?: ErrorOptions) =>
    new SafetensorsError("json", file, null, `the header ${message}`, options);
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(header);
  } catch (error) {
    throw fail("is not UTF-8", { cause: error });
  }
  if (!text.startsWith("{")) throw fail(`starts with ${JSON.stringify(text.slice(0, 10))}, expected "{"`);
  try {
    return parseStrictJson(text) as JsonObject;
  } catch (error) {
    if (error instanceof DuplicateNameError) {
      throw new SafetensorsError("duplicate", file, null, error.message, { cause: error });
    }
    throw fail(`is damaged: ${(error as Error).message}`, { cause: error });
  }
}

function parseMetadata(value: JsonValue, file: string): Map<string, string> {
  if (!(value instanceof Map)) {
    throw new SafetensorsError("metadata", file, null, `${METADATA} is ${kind(value)}, expected an object of strings`);
  }
  for (const [key, text] of value) {
    if (typeof text !== "string") {
      const message = `${METADATA} holds ${kind(text)} under ${JSON.stringify(key)}, expected a string`;
      throw new SafetensorsError("metadata", file, null, message);
    }
  }
  return value as Map<string, string>;
}

function parseTensor(name: string, value: JsonValue, dataStart: number, file: string): TensorEntry {
  const fail = (fault: SafetensorsFault, message: string) => new SafetensorsError(fault, file, name, message);
  if (!(value instanceof Map)) throw fail("json", `its entry is ${kind(value)}, expected an object`);
  for (const member of value.keys()) {
    if (!MEMBERS.includes(member)) throw fail("json", `unknown member ${JSON.stringify(member)}, expected ${MEMBERS}`);
  }
  const [type, shape, offsets] = MEMBERS.map((member) => value.get(member));
  if (typeof type !== "string") throw fail("json", `dtype is ${kind(type)}, expected a string`);
  if (!Array.isArray(shape)) throw fail("json", `shape is ${kind(shape)}, expected an array`);
  if (!Array.isArray(offsets) || offsets.length !== 2) {
    throw fail("json", "data_offsets is not there or not an array of two, expected [begin, end]");
  }
  if (!isElementType(type)) {
    throw fail("dtype", `unknown dtype ${JSON.stringify(type)}, expected ${Object.keys(ELEMENT_SIZE_BYTES)}`);
  }
  const toCount = (fault: SafetensorsFault) => (item: JsonValue) => {
    const count = item instanceof JsonNumber ? item.asCount() : null;
    if (count === null) {
      const found = item instanceof JsonNumber ? item.text : kind(item);
      throw fail(fault, `${fault} holds ${found}, expected whole numbers from 0 to 2^53 - 1`);
    }
    return count;
  };
  const sizes = shape.map(toCount("shape"));
  const expectedBytes = countBytes(sizes, type);
  if (expectedBytes === null) throw fail("shape", `shape [${sizes}] of ${type} has more than 2^53 - 1 bytes`);
  const [begin, end] = offsets.map(toCount("offsets"));
  if (end < begin) throw fail("offsets", `it ends at ${end}, before it begins at ${begin}`);
  if (end - begin !== expectedBytes) {
    const message = `its range has ${end - begin} bytes, but shape [${sizes}] of ${type} needs ${expectedBytes}`;
    throw fail("size", message);
  }
  return { name, type, shape: sizes, startBytes: dataStart + begin, sizeBytes: end - begin };
}

/** Bytes of a tensor; null if the count overflows, even where a later dimension is 0. */
function countBytes(shape: number[], type: ElementType): number | null {
  try {
    return countElements([...shape.filter((size) => size !== 0), ELEMENT_SIZE_BYTES[type]]) *
      (shape.includes(0) ? 0 : 1);
  } catch (error) {
    if (error instanceof RangeError) return null;
    throw error;
  }
}

function kind(value: JsonValue | undefined): string {
  if (value === undefined) return "missing";
  if (value === null) return "null";
  if (Array.isArray(value)) return "an array";
  if (value instanceof Map) return "an object";
  if (value instanceof JsonNumber) return `the number ${value.text}`;
  return typeof value === "string" ? `the string ${JSON.stringify(value)}` : `${value}`;
}
