import type { KernelTarget } from "../../graph/kernel.ts";
import type { FloatFormat } from "../../graph/types.ts";
import { storedOperand, type TileOperand } from "./register_tile.ts";
import { divide, float } from "./wgsl.ts";

/** How a sum over several axes runs: outer loops around the inner sum, or one index along all of them. */
export interface ProductLoops {
  /** WGSL that opens and closes the outer loops; `lane` is there to keep their bounds from the unroller. */
  readonly open: string;
  readonly close: string;
  /** Length of the inner sum. */
  readonly length: number;
  /** WGSL that takes the index `step` along the whole sum apart, by name and in order: the outer loops' variables, and `inner`. */
  readonly split: Readonly<Record<string, string>> & { readonly inner: string };
}

/** A batch of matrix products as kernels are generated from it: plain products, and convolutions as implicit ones. */
export interface Product {
  /** Matrices in the batch; `matrix` is the index in WGSL. */
  readonly batch: number;
  /** Rows and columns of a result, and length of the whole sum. */
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly a: TileOperand;
  readonly b: TileOperand;
  readonly bias?: FloatFormat | null;
  readonly addend?: FloatFormat | null;
  /** Element format of the result; f32 when left out. What is stored in pairs needs a number of columns that four divides. */
  readonly result?: FloatFormat;
  readonly scale?: number;
  /** A second product that is added: operands of the same layouts, whose sum is `k` long. */
  readonly second?: { readonly k: number; readonly a: TileOperand; readonly b: TileOperand; readonly scale?: number };
  /** WGSL constants that depend on `matrix` alone. */
  readonly prologue?: string;
  readonly loops?: ProductLoops;
  /** Row of the whole result that row `row` of the product is, and the condition under which there is one. */
  readonly resultRow?: (row: string) => { row: string; condition?: string };
}

/** Factor on the second product before the whole sum is scaled. */
export function secondFactor({ second, scale = 1 }: Product): number {
  return (second?.scale ?? 1) / scale;
}

/** What is bound beside the operands, four elements at a time when `vectors`. */
export function boundBuffers({ bias, addend, result = "f32" }: Product, vectors: boolean, target: KernelTarget) {
  const stored = (name: string, dtype: FloatFormat) => storedOperand({ name, dtype, vectors }, target);
  return {
    bias: bias ? stored("bias", bias) : null,
    addend: addend ? stored("addend", addend) : null,
    result: stored("result", result),
  };
}

/** Stores one value, or four side by side, with scale, bias and addend. */
export function storeLine(
  product: Product,
  { bias, addend, result }: ReturnType<typeof boundBuffers>,
  row: string,
  column: string,
  value: string,
): string {
  const { batch, m, n, scale = 1 } = product, unit = result.width;
  const place = product.resultRow?.(row) ?? { row: batch > 1 ? `matrix * ${m}u + ${row}` : row };
  const terms = [
    scale === 1 ? value : `${value} * ${float(scale)}`,
    bias?.load(divide(column, unit)) ?? "",
    addend?.load("index") ?? "",
  ];
  const line = `let index = (${place.row}) * ${n / unit}u + ${divide(column, unit)}; ` +
    result.store("index", terms.filter((term) => term).join(" + "));
  return place.condition ? `if (${place.condition}) { ${line} }` : `{ ${line} }`;
}
