import { countElements, ELEMENT_SIZE_BYTES, type ElementType } from "./element_types.ts";

/** A tensor to write. */
export interface TensorData {
  readonly name: string;
  readonly type: ElementType;
  readonly shape: readonly number[];
  /** Little-endian elements, row-major. */
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** A tensor to write whose bytes are made when its turn comes, so that a large file needs little memory. */
export interface TensorSource extends Omit<TensorData, "bytes"> {
  read(): Uint8Array<ArrayBuffer> | Promise<Uint8Array<ArrayBuffer>>;
}

/** Bytes of all elements of a tensor, by its type and shape. */
export function tensorSizeBytes({ type, shape }: Pick<TensorData, "type" | "shape">): number {
  return countElements(shape) * ELEMENT_SIZE_BYTES[type];
}

/**
 * A tensor's bytes, made now if need be.
 *
 * @throws {TypeError} If they are not as many as its shape needs.
 */
export async function tensorBytes(tensor: TensorData | TensorSource): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = "bytes" in tensor ? tensor.bytes : await tensor.read();
  checkTensorBytes(tensor, bytes);
  return bytes;
}

/** @throws {TypeError} If the bytes are not as many as the tensor's shape needs. */
export function checkTensorBytes(
  { name, type, shape }: Pick<TensorData, "name" | "type" | "shape">,
  bytes: Uint8Array,
): void {
  const sizeBytes = tensorSizeBytes({ type, shape });
  if (bytes.length === sizeBytes) return;
  throw new TypeError(
    `Cannot write tensor ${JSON.stringify(name)}: it has ${bytes.length} bytes, but shape [${shape}] of ${type} ` +
      `needs ${sizeBytes}`,
  );
}

/** @throws {TypeError} If a name is taken twice or is not well formed, such as half a surrogate pair. */
export function checkTensorNames(tensors: readonly Pick<TensorData, "name">[]): void {
  const names = new Set<string>();
  for (const { name } of tensors) {
    if (!name.isWellFormed()) throw new TypeError(`Cannot write ${JSON.stringify(name)}: it has half a surrogate pair`);
    if (names.has(name)) throw new TypeError(`Cannot write tensor ${JSON.stringify(name)}: the name is taken`);
    names.add(name);
  }
}
