import { ELEMENT_SIZE_BYTES, type ElementType } from "../element_types.ts";
import { Fault } from "./error.ts";
import type { TensorRef } from "./values.ts";

/** Where the elements of a tensor lie in its storage; all figures in elements. */
export interface TensorLayout {
  readonly type: ElementType;
  readonly shape: readonly number[];
  readonly strides: readonly number[];
  /** The first element, from the start of the storage. */
  readonly start: number;
  /** From the first element to the last, both included; 0 for an empty tensor. */
  readonly span: number;
  /** Number of elements. */
  readonly count: number;
  /** Whether the elements lie row-major, without gaps. */
  readonly isContiguous: boolean;
}

const maxRank = 64;
/** A tensor that repeats elements may be larger than its storage, up to here. */
const maxExpandedBytes = 2 ** 24;

/**
 * Checks a tensor against its storage.
 *
 * @throws {Fault} As `unsupported` if the type is not read here, as `bounds` if it reaches out of its storage, as `limit`
 *   if it unfolds to far more than the storage holds.
 */
export function layOut({ storage, offset, shape, strides, flag }: TensorRef): TensorLayout {
  const { type, typeName, view } = storage;
  if (type === null) throw new Fault("unsupported", `its storage is a ${typeName}, which is not read here`);
  if (flag !== null) {
    throw new Fault("unsupported", `it is kept with the flag ${JSON.stringify(flag)}; save it resolved`);
  }
  if (shape.length > maxRank) throw new Fault("limit", `it has ${shape.length} dimensions, expected up to ${maxRank}`);
  const what = `shape [${shape}], strides [${strides}], offset ${offset}`;
  if (shape.length !== strides.length) throw new Fault("bounds", `${what}: there must be a stride for each dimension`);
  if ([offset, ...shape, ...strides].some((figure) => figure < 0n)) {
    throw new Fault("bounds", `${what}: none may be below 0`);
  }
  const count = shape.reduce((product, size) => product * size, 1n);
  const span = count === 0n ? 0n : shape.reduce((last, size, axis) => last + (size - 1n) * strides[axis], 1n);
  if (offset + span > BigInt(view.count)) {
    throw new Fault("bounds", `${what}: it reaches to element ${offset + span} of a storage of ${view.count}`);
  }
  const sizeBytes = count * BigInt(ELEMENT_SIZE_BYTES[type]);
  if (sizeBytes > Math.max(maxExpandedBytes, view.count * ELEMENT_SIZE_BYTES[type])) {
    throw new Fault("limit", `${what}: it unfolds to ${sizeBytes} bytes from a storage of ${view.count} elements`);
  }
  if (shape.some((size) => size > Number.MAX_SAFE_INTEGER)) throw new Fault("bounds", `${what}: a size is above 2^53`);
  let step = 1n;
  let isContiguous = true;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    if (shape[axis] !== 1n && strides[axis] !== step) isContiguous = false;
    step *= shape[axis];
  }
  return {
    type,
    shape: shape.map(Number),
    strides: strides.map(Number),
    start: view.offset + Number(offset),
    span: Number(span),
    count: Number(count),
    isContiguous: isContiguous || count === 0n,
  };
}

const wordArrays = { 1: Uint8Array, 2: Uint16Array, 4: Uint32Array, 8: BigUint64Array } as const;

/**
 * The elements of a tensor, row-major, from the part of the storage that it spans.
 *
 * @param spanned Bytes from the first element to the last, at the start of their buffer.
 */
export function gather(spanned: Uint8Array<ArrayBuffer>, layout: TensorLayout): Uint8Array<ArrayBuffer> {
  const { shape, strides, count } = layout;
  const Words = wordArrays[ELEMENT_SIZE_BYTES[layout.type] as keyof typeof wordArrays];
  const from = new Words(spanned.buffer), to = new Words(count);
  const index = shape.map(() => 0);
  let at = 0;
  for (let i = 0; i < count; i++) {
    to[i] = from[at];
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      at += strides[axis];
      if (++index[axis] < shape[axis]) break;
      at -= strides[axis] * shape[axis];
      index[axis] = 0;
    }
  }
  return new Uint8Array(to.buffer);
}
