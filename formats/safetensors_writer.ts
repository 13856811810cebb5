import { writeFileAtomically } from "./atomic_file.ts";
import { countElements, ELEMENT_SIZE_BYTES, type ElementType } from "./element_types.ts";
import { compareCodePoints } from "./text_order.ts";

/** A tensor to write. */
export interface TensorData {
  readonly name: string;
  readonly type: ElementType;
  readonly shape: readonly number[];
  /** Little-endian elements, row-major. */
  readonly bytes: Uint8Array<ArrayBuffer>;
}

const TYPE_RANK = new Map(Object.keys(ELEMENT_SIZE_BYTES).map((type, rank) => [type, rank]));

/** The tensors in the order in which safetensors writers lay them out: by element type, larger first, then by name. */
export function orderTensors(tensors: readonly TensorData[]): TensorData[] {
  return tensors.toSorted((a, b) =>
    TYPE_RANK.get(a.type)! - TYPE_RANK.get(b.type)! || compareCodePoints(a.name, b.name)
  );
}

/**
 * The header of a file, with its length in front.
 *
 * @param tensors In the order of the data.
 * @param metadata Written in the order given; without it the header has no metadata member.
 * @throws {TypeError} If a name is taken twice or is `__metadata__`, a text is not well formed, or the number of bytes is
 *   not that of the shape.
 */
export function serializeHeader(
  tensors: readonly TensorData[],
  metadata?: ReadonlyMap<string, string>,
): Uint8Array<ArrayBuffer> {
  const members: string[] = [];
  if (metadata !== undefined) {
    const pairs = [...metadata].map(([key, value]) => `${quote(key)}:${quote(value)}`);
    members.push(`"__metadata__":{${pairs.join()}}`);
  }
  const names = new Set(["__metadata__"]);
  let begin = 0;
  for (const { name, type, shape, bytes } of tensors) {
    if (names.has(name)) throw new TypeError(`Cannot write tensor ${JSON.stringify(name)}: the name is taken`);
    names.add(name);
    const sizeBytes = countElements(shape) * ELEMENT_SIZE_BYTES[type];
    if (bytes.length !== sizeBytes) {
      throw new TypeError(
        `Cannot write tensor ${JSON.stringify(name)}: it has ${bytes.length} bytes, but shape [${shape}] of ${type} ` +
          `needs ${sizeBytes}`,
      );
    }
    const entry = JSON.stringify({ dtype: type, shape, data_offsets: [begin, begin + sizeBytes] });
    members.push(`${quote(name)}:${entry}`);
    begin += sizeBytes;
  }
  const text = new TextEncoder().encode(`{${members.join()}}`);
  const header = new Uint8Array(8 + Math.ceil(text.length / 8) * 8).fill(0x20);
  new DataView(header.buffer).setBigUint64(0, BigInt(header.length - 8), true);
  header.set(text, 8);
  return header;
}

function quote(text: string): string {
  if (!text.isWellFormed()) throw new TypeError(`Cannot write ${JSON.stringify(text)}: it has half a surrogate pair`);
  return JSON.stringify(text);
}

/**
 * A whole safetensors file in memory, byte for byte as the format's own library lays it out.
 *
 * @param tensors In any order.
 * @param options.metadata Notes, string to string, written in the order given.
 * @throws {TypeError} If names, texts or sizes do not fit together; see {@link writeSafetensors}.
 */
export function serializeSafetensors(
  tensors: readonly TensorData[],
  options: { metadata?: ReadonlyMap<string, string> } = {},
): Uint8Array<ArrayBuffer> {
  const ordered = orderTensors(tensors);
  const pieces = [serializeHeader(ordered, options.metadata), ...ordered.map((tensor) => tensor.bytes)];
  const file = new Uint8Array(pieces.reduce((total, piece) => total + piece.length, 0));
  let offset = 0;
  for (const piece of pieces) {
    file.set(piece, offset);
    offset += piece.length;
  }
  return file;
}

/**
 * Writes a safetensors file; the path holds either the old file or the whole new one at any moment.
 *
 * @param path The folder must exist.
 * @param tensors In any order; values are written as they are, NaN too.
 * @param options.metadata Notes, string to string, written in the order given.
 * @throws {TypeError} If a name is taken twice, a text is not well formed, or bytes and shape do not fit.
 * @throws What the file system throws; an existing file is then untouched.
 */
export async function writeSafetensors(
  path: string,
  tensors: readonly TensorData[],
  options: { metadata?: ReadonlyMap<string, string> } = {},
): Promise<void> {
  const ordered = orderTensors(tensors);
  await writeFileAtomically(path, [serializeHeader(ordered, options.metadata), ...ordered.map(({ bytes }) => bytes)]);
}
