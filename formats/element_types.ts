/** Element types of tensors in files, as safetensors names them. */
export type ElementType = "F64" | "F32" | "F16" | "BF16" | "I64" | "I32" | "I16" | "I8" | "U8" | "BOOL";

/** Bytes of one element. In the order in which safetensors writers sort tensors: first the types at the top. */
export const ELEMENT_SIZE_BYTES: Readonly<Record<ElementType, number>> = {
  I64: 8,
  F64: 8,
  F32: 4,
  I32: 4,
  BF16: 2,
  F16: 2,
  I16: 2,
  I8: 1,
  U8: 1,
  BOOL: 1,
};

/** Whether a text names an element type. */
export function isElementType(text: string): text is ElementType {
  return Object.hasOwn(ELEMENT_SIZE_BYTES, text);
}

/**
 * Number of elements of a shape; 1 for the scalar shape [].
 *
 * @throws {RangeError} If a dimension is not a whole number from 0 on, or the product of the dimensions is above 2^53 − 1.
 */
export function countElements(shape: readonly number[]): number {
  let count = 1;
  for (const size of shape) {
    if (!Number.isSafeInteger(size) || size < 0) {
      throw new RangeError(`Cannot count the elements of shape [${shape}]: ${size} is not a whole number from 0 on`);
    }
    count *= size;
    if (!Number.isSafeInteger(count)) {
      throw new RangeError(`Cannot count the elements of shape [${shape}]: the product is above 2^53 - 1`);
    }
  }
  return count;
}

/**
 * Elements of a floating-point tensor as float32. F64 is rounded to nearest; F16 and BF16 are exact.
 *
 * @param bytes Little-endian elements.
 * @throws {TypeError} If the type is an integer or BOOL.
 */
export function decodeFloat32(bytes: Uint8Array, type: ElementType): Float32Array<ArrayBuffer> {
  switch (type) {
    case "F32":
      return new Float32Array(aligned(bytes));
    case "F64":
      return new Float32Array(new Float64Array(aligned(bytes)));
    case "F16":
      return new Float32Array(new Float16Array(aligned(bytes)));
    case "BF16": {
      const halves = new Uint16Array(aligned(bytes));
      const words = new Uint32Array(halves.length);
      for (let i = 0; i < halves.length; i++) words[i] = halves[i] << 16;
      return new Float32Array(words.buffer);
    }
    default:
      throw new TypeError(`Cannot read ${type} elements as floating-point numbers: expected F64, F32, F16 or BF16`);
  }
}

/**
 * Elements of an integer or BOOL tensor as int32.
 *
 * @param bytes Little-endian elements.
 * @throws {TypeError} If the type is a floating-point one.
 * @throws {RangeError} If an I64 element does not fit into 32 bits.
 */
export function decodeInt32(bytes: Uint8Array, type: ElementType): Int32Array<ArrayBuffer> {
  switch (type) {
    case "I32":
      return new Int32Array(aligned(bytes));
    case "I16":
      return new Int32Array(new Int16Array(aligned(bytes)));
    case "I8":
      return new Int32Array(new Int8Array(aligned(bytes)));
    case "U8":
    case "BOOL":
      return new Int32Array(bytes);
    case "I64": {
      const wide = new BigInt64Array(aligned(bytes));
      return Int32Array.from(wide, (value, index) => {
        if (BigInt.asIntN(32, value) !== value) {
          throw new RangeError(`Element ${index} is ${value}, which does not fit into a 32-bit integer`);
        }
        return Number(value);
      });
    }
    default:
      throw new TypeError(`Cannot read ${type} elements as integers: expected I64, I32, I16, I8, U8 or BOOL`);
  }
}

/** Types that {@link encodeFloat32} writes. */
export type FloatType = "F32" | "F16" | "BF16";

/**
 * Float32 values as little-endian bytes of a type, rounded to nearest, ties to even, as PyTorch's `Tensor.to` does.
 *
 * Values beyond the type's range become infinite; NaN stays NaN. F32 shares the memory of `values`.
 */
export function encodeFloat32(values: Float32Array<ArrayBuffer>, type: FloatType): Uint8Array<ArrayBuffer> {
  switch (type) {
    case "F32":
      return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
    case "F16":
      return new Uint8Array(new Float16Array(values).buffer);
    case "BF16": {
      const words = new Uint32Array(values.buffer, values.byteOffset, values.length);
      const halves = new Uint16Array(values.length);
      for (let i = 0; i < halves.length; i++) {
        const word = words[i];
        const isNan = (word & 0x7fffffff) > 0x7f800000;
        // Adding 0x7fff and the lowest kept bit carries into the kept bits exactly where rounding to even goes up.
        halves[i] = isNan ? 0x7fc0 : (word + 0x7fff + ((word >>> 16) & 1)) >>> 16;
      }
      return new Uint8Array(halves.buffer);
    }
  }
}

/**
 * As {@link encodeFloat32}, for files of weights.
 *
 * @param name Of the tensor, for messages.
 * @throws {RangeError} If a value is NaN or infinite, or becomes so in this type.
 */
export function encodeFinite(
  values: Float32Array<ArrayBuffer>,
  type: FloatType,
  name: string,
): Uint8Array<ArrayBuffer> {
  const bytes = encodeFloat32(values, type),
    at = decodeFloat32(bytes, type).findIndex((value) => !Number.isFinite(value));
  if (at < 0) return bytes;
  const value = values[at];
  const reason = Number.isFinite(value)
    ? `number ${at} is ${value}, beyond what ${type} can hold; save it as float or bf16`
    : `number ${at} is ${value}, must be finite`;
  throw new RangeError(`Cannot write ${name}: ${reason}`);
}

/** A copy of the bytes that starts at offset 0 of its own buffer: typed arrays need aligned offsets, files do not. */
function aligned(bytes: Uint8Array): ArrayBuffer {
  return new Uint8Array(bytes).buffer;
}
