import { EigenvalueDecomposition, Matrix, SingularValueDecomposition } from "ml-matrix";
import type { LoraFileModule } from "../formats/lora_file.ts";
import { numericalRank } from "./low_rank.ts";
import { rowProducts, transposed } from "./row_products.ts";

/**
 * The singular value decomposition of a LoRA module's `up · down` (alpha left out), its vectors written as mixtures of the factors: with D = down `[rank, in]` and
 * U = up `[out, rank]` the right singular vectors are the columns of `Dᵀ · rows`, the left ones those of `U · columns`.
 */
export interface FactorSpaces {
  /** Above 1e-6 of the largest, largest first; none where the product is 0. */
  readonly values: readonly number[];
  /** `[rank, values]` */
  readonly rows: Matrix;
  /** `[rank, values]` */
  readonly columns: Matrix;
  /** D, row-major `[rank, in]`. */
  readonly down: Float32Array;
  /** Uᵀ, row-major `[rank, out]`. */
  readonly up: Float32Array;
}

/**
 * Decomposes a module by its Gram matrices `DDᵀ` and `UᵀU` alone, in f64: only matrices of the rank's size are decomposed, so that a rank of 128 takes a fraction of
 * a second.
 *
 * With `S·DDᵀ·S = QΛQᵀ` and `S⁻¹·UᵀU·S⁻¹ = PMPᵀ` the product is `Z · (M^½PᵀQΛ^½) · W`, where Z and W are orthonormal; S makes the two factors of each rank
 * equally long, so that a small row beside a large column is not lost. Gram matrices square: directions of a factor below about 1e-7 of its largest are not seen.
 */
export function factorSpaces({ down, up }: Pick<LoraFileModule, "down" | "up">): FactorSpaces {
  const rank = down.shape[0], outSize = up.shape[0], ups = transposed(up.values, outSize);
  const ofDown = rowProducts(down.values, down.values, down.values.length / rank);
  const ofUp = rowProducts(ups, ups, outSize);
  // A rank with an empty factor adds nothing.
  const scales = Array.from({ length: rank }, (_, i) => {
    const [d, u] = [ofDown, ofUp].map((gram) => gram[i * rank + i]);
    return d > 0 && u > 0 ? (u / d) ** 0.25 : 0;
  });
  const inverse = scales.map((scale) => scale === 0 ? 0 : 1 / scale);
  const right = halfRoot(ofDown, scales), left = halfRoot(ofUp, inverse), none = new Matrix(rank, 0);
  const common = { down: down.values, up: ups };
  if (right.roots.length === 0) return { ...common, values: [], rows: none, columns: none };
  const inner = left.vectors.transpose().mmul(right.vectors).mulColumnVector(left.roots).mulRowVector(right.roots);
  const found = new SingularValueDecomposition(inner, { autoTranspose: true });
  const values = found.diagonal.slice(0, found.diagonal[0] > 0 ? numericalRank(found.diagonal) : 0);
  const mixture = (scale: readonly number[], { vectors, roots }: HalfRoot, inside: Matrix) =>
    values.length === 0 ? none : vectors.clone().mulColumnVector([...scale]).divRowVector(roots)
      .mmul(inside.subMatrix(0, inside.rows - 1, 0, values.length - 1));
  return {
    ...common,
    values,
    rows: mixture(scales, right, found.rightSingularVectors),
    columns: mixture(inverse, left, found.leftSingularVectors),
  };
}

/** The eigenvectors of a Gram matrix, and the roots of its eigenvalues. */
interface HalfRoot {
  /** `[rank, directions]` */
  readonly vectors: Matrix;
  readonly roots: number[];
}

/** Decomposes `scale · gram · scale`; directions that rounding alone can have made are left out. */
function halfRoot(gram: Float64Array, scales: readonly number[]): HalfRoot {
  const rank = scales.length, matrix = Matrix.from1DArray(rank, rank, gram);
  matrix.mulColumnVector([...scales]).mulRowVector([...scales]);
  const { realEigenvalues: found, eigenvectorMatrix } = new EigenvalueDecomposition(matrix, { assumeSymmetric: true });
  const least = Math.max(...found) * rank * Number.EPSILON;
  const kept = found.flatMap((value, at) => value > least ? [at] : []);
  return { vectors: eigenvectorMatrix.subMatrixColumn(kept), roots: kept.map((at) => Math.sqrt(found[at])) };
}

/** The product of two modules' orthonormal bases, `[values of one, values of two]`: of what they read (`rows`), or write (`columns`). */
export function basisProducts(one: FactorSpaces, two: FactorSpaces, side: "rows" | "columns"): Matrix {
  const factor = side === "rows" ? "down" : "up", [a, b] = [one[factor], two[factor]], { rows: rankA } = one[side];
  const products = Matrix.from1DArray(rankA, two[side].rows, rowProducts(a, b, a.length / rankA));
  return one[side].transpose().mmul(products).mmul(two[side]);
}
