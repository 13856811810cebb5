import { Matrix, SingularValueDecomposition } from "ml-matrix";
import { numericalRank } from "./low_rank.ts";
import type { LoraModule, LoraNetwork, LoraValues } from "./network.ts";

/** Which side of the modules is projected: what network 2 reads (down projections), or what it writes (up projections). */
export const nullSpaceSides = ["rows", "columns"] as const;

/** See {@linkcode nullSpaceSides}. */
export type NullSpaceSide = typeof nullSpaceSides[number];

/**
 * A trained network without what lies in another one's space, module by module:
 *
 *     rows      A₂ ← A₂ · (I − V₁·V₁ᵀ), V₁ an orthonormal basis of A₁'s row space: afterwards A₁·A₂ᵀ = 0
 *     columns   B₂ ← (I − U₁·U₁ᵀ) · B₂, U₁ one of B₁'s column space: afterwards B₁ᵀ·B₂ = 0
 *
 * Computed in f64. Where network 1's space is the layer's whole, nothing is left of the module. Modules that network 1 lacks stay as they are.
 *
 * @param weights Flat weights of `two`.
 * @param against Flat weights of `one`.
 * @returns Flat, laid out as `weights`.
 */
export function projectToNullSpace(
  two: LoraNetwork,
  weights: Float32Array,
  one: LoraNetwork,
  against: Float32Array,
  side: NullSpaceSide,
): Float32Array {
  const values1 = one.unflatten(against), values2 = two.unflatten(weights);
  return two.flatten((module): LoraValues => {
    const own = values2.get(module)!, other = one.module(module.name);
    if (!other) return own;
    const { down, up } = values1.get(other)!;
    return side === "rows"
      ? { ...own, down: rowMajor(removed(columnsOfDown(module, own.down), columnsOfDown(other, down)).transpose()) }
      : { ...own, up: rowMajor(removed(columnsOfUp(module, own.up), columnsOfUp(other, up))) };
  });
}

/** `[inputs, rank]` */
function columnsOfDown({ rank }: LoraModule, values: Float32Array): Matrix {
  return Matrix.from1DArray(rank, values.length / rank, values).transpose();
}

/** `[outputs, rank]` */
function columnsOfUp({ rank }: LoraModule, values: Float32Array): Matrix {
  return Matrix.from1DArray(values.length / rank, rank, values);
}

/** Columns without their parts in the space of others. */
function removed(columns: Matrix, others: Matrix): Matrix {
  const { leftSingularVectors: left, diagonal } = new SingularValueDecomposition(others, { autoTranspose: true });
  const rank = numericalRank(diagonal);
  if (rank === 0) return columns;
  const basis = left.subMatrix(0, left.rows - 1, 0, rank - 1);
  return Matrix.sub(columns, basis.mmul(basis.transpose().mmul(columns)));
}

function rowMajor(matrix: Matrix): Float32Array {
  return Float32Array.from(matrix.to1DArray());
}
