/**
 * NumPy's archives of arrays, as far as arrays of numbers with a fraction go.
 *
 * @module
 * @see https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
 */
import { openFileSource } from "./byte_source.ts";
import { countElements, decodeFloat32, ELEMENT_SIZE_BYTES, type ElementType } from "./element_types.ts";
import { TensorFileError } from "./tensor_file.ts";
import { Fault } from "./torch_checkpoint/error.ts";
import { readZip } from "./torch_checkpoint/zip_archive.ts";

/** An array, its elements in C's order. */
export interface NpyArray {
  readonly shape: readonly number[];
  readonly values: Float32Array<ArrayBuffer>;
}

/** NumPy's names of element types. */
const elementTypes: Readonly<Record<string, ElementType>> = { "<f2": "F16", "<f4": "F32", "<f8": "F64" };

/**
 * Reads some arrays of a `.npz` file, packed or not (`numpy.savez`, `numpy.savez_compressed`).
 *
 * @param names Arrays that are wanted; those that are not there are not in the result.
 * @throws {TensorFileError} If the file is damaged, or an array is none of little-endian floats in C's order.
 * @throws What the file system throws where it cannot be opened.
 */
export async function readNpz(path: string, names: readonly string[]): Promise<Map<string, NpyArray>> {
  const source = await openFileSource(path), found = new Map<string, NpyArray>();
  try {
    const entries = await readZip(source);
    for (const name of names) {
      const entry = entries.get(`${name}.npy`);
      if (entry) found.set(name, parseNpy(await entry.read(0, entry.sizeBytes), path, name));
    }
    return found;
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    throw new TensorFileError(error.kind, path, null, error.message, { cause: error });
  } finally {
    await source.close();
  }
}

/** An array's own file: a signature, a header in Python's spelling, the elements. */
function parseNpy(bytes: Uint8Array, path: string, name: string): NpyArray {
  const wrong = (fault: string, message: string) => new TensorFileError(fault, path, name, message);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const isNpy = bytes.length >= 12 && String.fromCharCode(...bytes.subarray(0, 6)) === "\x93NUMPY";
  if (!isNpy) throw wrong("npy", "it is no array of NumPy's");
  const isShort = bytes[6] === 1, start = isShort ? 10 : 12;
  const end = start + (isShort ? view.getUint16(8, true) : view.getUint32(8, true));
  if (end > bytes.length) throw wrong("truncated", `its header ends at byte ${end} of ${bytes.length}`);
  const header = new TextDecoder("latin1").decode(bytes.subarray(start, end));
  const [, kind] = /'descr': *'([^']*)'/.exec(header) ?? [], [, order] = /'fortran_order': *(\w+)/.exec(header) ?? [];
  const [, sizes] = /'shape': *\(([\d, ]*)\)/.exec(header) ?? [];
  const type = elementTypes[`${kind}`];
  if (type === undefined || order !== "False" || sizes === undefined) {
    throw wrong("unsupported", `its header is ${header.trim()}, expected <f2, <f4 or <f8 in C's order`);
  }
  const shape = sizes.split(",").filter((size) => size.trim() !== "").map(Number);
  const sizeBytes = countElements(shape) * ELEMENT_SIZE_BYTES[type];
  if (bytes.length - end !== sizeBytes) {
    throw wrong("truncated", `it has ${bytes.length - end} bytes of elements, its shape [${shape}] takes ${sizeBytes}`);
  }
  return { shape, values: decodeFloat32(bytes.subarray(end), type) };
}
