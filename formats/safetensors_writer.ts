import { writeFileAtomically } from "./atomic_file.ts";
import { ELEMENT_SIZE_BYTES } from "./element_types.ts";
import {
  checkTensorBytes,
  checkTensorNames,
  tensorBytes,
  type TensorData,
  tensorSizeBytes,
  type TensorSource,
} from "./tensor_data.ts";
import { compareCodePoints } from "./text_order.ts";

const TYPE_RANK = new Map(Object.keys(ELEMENT_SIZE_BYTES).map((type, rank) => [type, rank]));

/** The tensors in the order in which safetensors writers lay them out: by element type, larger first, then by name. */
export function orderTensors<T extends TensorData | TensorSource>(tensors: readonly T[]): T[] {
  return tensors.toSorted((a, b) =>
    TYPE_RANK.get(a.type)! - TYPE_RANK.get(b.type)! || compareCodePoints(a.name, b.name)
  );
}

/**
 * The header of a file, with its length in front.
 *
 * @param tensors In the order of the data.
 * @param metadata Written in the order given; without it the header has no metadata member.
 * @throws {TypeError} If a name is taken twice or is `__metadata__`, or a text is not well formed.
 */
export function serializeHeader(
  tensors: readonly (TensorData | TensorSource)[],
  metadata?: ReadonlyMap<string, string>,
): Uint8Array<ArrayBuffer> {
  checkTensorNames([{ name: "__metadata__" }, ...tensors]);
  const members: string[] = [];
  if (metadata !== undefined) {
    const pairs = [...metadata].map(([key, value]) => `${quote(key)}:${quote(value)}`);
    members.push(`"__metadata__":{${pairs.join()}}`);
  }
  let begin = 0;
  for (const { name, type, shape } of tensors) {
    const end = begin + tensorSizeBytes({ type, shape });
    members.push(`${quote(name)}:${JSON.stringify({ dtype: type, shape, data_offsets: [begin, end] })}`);
    begin = end;
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
  for (const tensor of ordered) checkTensorBytes(tensor, tensor.bytes);
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
 * @param tensors In any order; values are written as they are, NaN too. Sources are asked for one at a time.
 * @param options.metadata Notes, string to string, written in the order given.
 * @throws {TypeError} If a name is taken twice, a text is not well formed, or bytes and shape do not fit.
 * @throws What the file system throws; an existing file is then untouched.
 */
export async function writeSafetensors(
  path: string,
  tensors: readonly (TensorData | TensorSource)[],
  options: { metadata?: ReadonlyMap<string, string> } = {},
): Promise<void> {
  const ordered = orderTensors(tensors), header = serializeHeader(ordered, options.metadata);
  const sizeBytes = ordered.reduce((sum, tensor) => sum + tensorSizeBytes(tensor), header.length);
  await writeFileAtomically(path, pieces(), { sizeBytes });

  async function* pieces(): AsyncGenerator<Uint8Array> {
    yield header;
    for (const tensor of ordered) yield await tensorBytes(tensor);
  }
}
