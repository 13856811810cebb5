/**
 * Number formats that a tensor's elements can have. `f16`, `bf16` and `q8` are storage: kernels widen them to f32 before computing, but
 * for products in f16 where a device is opened for them (`KernelTarget.f16Arithmetic`).
 *
 * `q8` is for weights that never change: 32 neighbours share an f32, the largest absolute value among them, of which each is a number of 127ths.
 * See `toQ8`.
 */
export type DType = "f32" | "f16" | "bf16" | "q8" | "u32" | "i32";

/** Formats of numbers with a fraction that kernels read and write. */
export type FloatFormat = "f32" | "f16" | "bf16";

/** Formats of numbers with a fraction that kernels read. */
export type ReadFormat = FloatFormat | "q8";

/** Sizes of a tensor's axes, outermost first; `[]` is a scalar. Tensors are always contiguous, row-major. */
export type Shape = readonly number[];

/** Shape and element format of a tensor. */
export interface TensorType {
  readonly shape: Shape;
  readonly dtype: DType;
}

/** Neighbours of a `q8` tensor that share a scale, and the u32 words that they take together with it. */
export const q8Block = { elements: 32, words: 9 } as const;

/** Bytes of one element; of `q8` with its share of the scale. */
export const bytesPerElement: Readonly<Record<DType, number>> = {
  f32: 4,
  f16: 2,
  bf16: 2,
  q8: 4 * q8Block.words / q8Block.elements,
  u32: 4,
  i32: 4,
};

/** Whether elements of this format take 16 bits. */
export function isHalf(dtype: DType): boolean {
  return bytesPerElement[dtype] === 2;
}

/** The format that kernels compute in with elements of this one. */
export function computedIn(dtype: DType): "f32" | "u32" | "i32" {
  return dtype === "u32" || dtype === "i32" ? dtype : "f32";
}

/** Number of elements of a shape; 1 for a scalar. */
export function elementCount(shape: Shape): number {
  return shape.reduce((product, size) => product * size, 1);
}

/** Bytes that a tensor of this type takes, rounded up to the 4 bytes that WebGPU copies in. */
export function byteLength(type: TensorType): number {
  return Math.ceil(elementCount(type.shape) * bytesPerElement[type.dtype] / 4) * 4;
}

/** Bytes of a buffer that holds so many: WebGPU binds no empty one, and its kernels read vectors of up to 16 bytes. */
export function bufferBytes(sizeBytes: number): number {
  return Math.max(16, sizeBytes);
}

/** Distance in elements between neighbours along each axis of a contiguous tensor. */
export function stridesOf(shape: Shape): number[] {
  return shape.map((_, axis) => elementCount(shape.slice(axis + 1)));
}

/** True when both shapes have the same axes. */
export function sameShape(a: Shape, b: Shape): boolean {
  return a.length === b.length && a.every((size, axis) => size === b[axis]);
}

/** `f32 [2, 77, 768]`, as errors and printed graphs show a type. */
export function typeText(type: TensorType): string {
  return `${type.dtype} [${type.shape.join(", ")}]`;
}

/**
 * Shape that two shapes broadcast to, by NumPy's rule: axes are aligned at the end, and an axis of size 1 stretches.
 *
 * @returns The shape, or null when the two do not fit.
 */
export function broadcastShape(a: Shape, b: Shape): number[] | null {
  const rank = Math.max(a.length, b.length);
  const result: number[] = [];
  for (let i = 0; i < rank; i++) {
    const x = a[a.length - rank + i] ?? 1, y = b[b.length - rank + i] ?? 1;
    if (x !== y && x !== 1 && y !== 1) return null;
    result.push(x === 1 ? y : x);
  }
  return result;
}
