import type { Kernel, KernelTarget } from "../../graph/kernel.ts";
import type { Product } from "./product.ts";
import { productKernel } from "./product_kernel.ts";
import type { FloatFormat, ReadFormat } from "../../graph/types.ts";
import type { TileOperand } from "./register_tile.ts";

/** Sizes and layout of a batch of matrix products. */
export interface GemmOptions {
  /** Products in the batch; 1 when left out. */
  readonly batch?: number;
  readonly m: number;
  readonly n: number;
  readonly k: number;
  /** `a` is stored `[k, m]` instead of `[m, k]`. */
  readonly transposeA?: boolean;
  /** `b` is stored `[n, k]` instead of `[k, n]`. */
  readonly transposeB?: boolean;
  /** One `a` (or `b`) serves the whole batch. */
  readonly sharedA?: boolean;
  readonly sharedB?: boolean;
  /** Element formats; `f32` when left out. */
  readonly dtypeA?: ReadFormat;
  readonly dtypeB?: ReadFormat;
  /** Element format of the bias `[n]`; there is none when left out. */
  readonly bias?: FloatFormat | null;
  /** Element format of the addend `[batch, m, n]`; there is none when left out. */
  readonly addend?: FloatFormat | null;
  /** Element format of the result; f32 when left out. */
  readonly result?: FloatFormat;
  /** Factor on the product alone; 1 when left out. */
  readonly scale?: number;
  /** A second product of matrices that lie alike, `scale · a·b` with a sum of its own length `k`; not for batches. */
  readonly second?: {
    readonly k: number;
    readonly dtypeA?: ReadFormat;
    readonly dtypeB?: ReadFormat;
    readonly scale?: number;
  };
}

/**
 * Kernel for `result[i, m, n] = scale * a[i]·b[i] + second + bias[n] + addend[i, m, n]`, summed in f32, of f16 in blocks of 16 where the target says so.
 *
 * Bindings: a, b, then bias, addend and the second product's a and b when there are any, then result.
 */
export function gemm(options: GemmOptions, target: KernelTarget): Kernel {
  return productKernel(gemmProduct(options), target);
}

/** The product as its kernels are generated from it. */
export function gemmProduct(options: GemmOptions): Product {
  const { batch = 1, m, n, k, transposeA, transposeB, sharedA, sharedB, dtypeA = "f32", dtypeB = "f32" } = options;
  const { bias, addend, result, scale } = options;
  const a = matrixOperand("a", m, k, !transposeA, batch > 1 && !sharedA, dtypeA);
  const b = matrixOperand("b", n, k, !!transposeB, batch > 1 && !sharedB, dtypeB);
  const second = options.second && {
    ...options.second,
    a: matrixOperand("secondA", m, options.second.k, !transposeA, false, options.second.dtypeA ?? "f32"),
    b: matrixOperand("secondB", n, options.second.k, !!transposeB, false, options.second.dtypeB ?? "f32"),
  };
  return { batch, m, n, k, a, b, bias, addend, result, scale, second };
}

function matrixOperand(
  name: string,
  size: number,
  k: number,
  sumContiguous: boolean,
  batched: boolean,
  dtype: ReadFormat,
): TileOperand {
  const base = batched ? `matrix * ${size * k}u + ` : "";
  return {
    name,
    dtype,
    contiguous: sumContiguous ? "sum" : "tile",
    vectors: (sumContiguous ? k : size) % 4 === 0,
    sumStride: sumContiguous ? 1 : size,
    tileStride: sumContiguous ? k : 1,
    offset: (at) => `${base}${at}${sumContiguous ? ` * ${k}u` : ""}`,
  };
}
