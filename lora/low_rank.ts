import { Matrix, QrDecomposition, SingularValueDecomposition } from "ml-matrix";
import { RandomStream } from "../random/philox.ts";

/** A matrix `[out, in]` as `left · diagonal(values) · rightᵀ`, with orthonormal columns in `left` and `right`. */
export interface SingularValues {
  /** Largest first. */
  readonly values: readonly number[];
  /** `[out, values]` */
  readonly left: Matrix;
  /** `[in, values]` */
  readonly right: Matrix;
}

/** Of `left · rightᵀ`. Exact: both factors are made orthonormal, so only a matrix of the size of their width is decomposed. */
function productSingularValues(left: Matrix, right: Matrix): SingularValues {
  if (left.columns > Math.min(left.rows, right.rows)) return exactSingularValues(left.mmul(right.transpose()));
  const ofLeft = new QrDecomposition(left), ofRight = new QrDecomposition(right);
  const inner = exactSingularValues(ofLeft.upperTriangularMatrix.mmul(ofRight.upperTriangularMatrix.transpose()));
  return {
    values: inner.values,
    left: ofLeft.orthogonalMatrix.mmul(inner.left),
    right: ofRight.orthogonalMatrix.mmul(inner.right),
  };
}

function exactSingularValues(matrix: Matrix): SingularValues {
  const found = new SingularValueDecomposition(matrix, { autoTranspose: true });
  return { values: found.diagonal, left: found.leftSingularVectors, right: found.rightSingularVectors };
}

/** Directions beyond the wanted rank, and passes over the matrix and back, of the randomized decomposition. */
const [oversampling, passes] = [16, 4];

/**
 * The largest singular values of a matrix and their vectors, in f64.
 *
 * Of a small matrix exactly; of a large one from the space that random vectors span after several multiplications with it. What is found then is exact where the
 * matrix has no more than `rank + 16` values that matter, and is never better than the best approximation. The same matrix gives the same numbers.
 *
 * @param values Row-major, `[outSize, inSize]`.
 * @param rank How many are wanted; no more than the matrix has.
 * @see Halko, Martinsson, Tropp 2011, https://arxiv.org/abs/0909.4061, algorithm 4.4
 */
export function largestSingularValues(
  values: Float32Array,
  outSize: number,
  inSize: number,
  rank: number,
): SingularValues {
  const width = rank + oversampling;
  if (Math.min(outSize, inSize) <= 2 * width) {
    return first(exactSingularValues(Matrix.from1DArray(outSize, inSize, values)), rank);
  }
  const random = new RandomStream({ seed: 0, stream: 0, step: 0 });
  let right = Float64Array.from({ length: inSize * width }, () => 2 * random.nextFloat() - 1);
  for (let pass = 0;; pass++) {
    const left = orthonormal(times(values, outSize, inSize, right, width), width);
    right = timesTransposed(values, outSize, inSize, left, width);
    if (pass === passes) {
      const [ofLeft, ofRight] = [left, right].map((each) => Matrix.from1DArray(each.length / width, width, each));
      return first(productSingularValues(ofLeft, ofRight), rank);
    }
    right = orthonormal(right, width);
  }
}

/** Below this share of the largest singular value a direction counts as none: float32 weights leave that much behind where there should be 0. */
const noShare = 1e-6;

/** How many singular values, largest first, count as more than 0. */
export function numericalRank(values: readonly number[]): number {
  return values.filter((value) => value > noShare * values[0]).length;
}

/** The largest of the singular values and their vectors. */
export function first({ values, left, right }: SingularValues, rank: number): SingularValues {
  const columns = (matrix: Matrix) => matrix.subMatrix(0, matrix.rows - 1, 0, rank - 1);
  return { values: values.slice(0, rank), left: columns(left), right: columns(right) };
}

/** The columns of a row-major matrix, made orthonormal. */
function orthonormal(values: Float64Array<ArrayBuffer>, width: number): Float64Array<ArrayBuffer> {
  const found = new QrDecomposition(Matrix.from1DArray(values.length / width, width, values)).orthogonalMatrix;
  return Float64Array.from(found.to1DArray());
}

/** `matrix · right`, `[outSize, width]`. */
function times(matrix: Float32Array, outSize: number, inSize: number, right: Float64Array, width: number) {
  const product = new Float64Array(outSize * width);
  for (let o = 0; o < outSize; o++) {
    for (let i = 0; i < inSize; i++) {
      const value = matrix[o * inSize + i];
      for (let w = 0; w < width; w++) product[o * width + w] += value * right[i * width + w];
    }
  }
  return product;
}

/** `matrixᵀ · left`, `[inSize, width]`. */
function timesTransposed(matrix: Float32Array, outSize: number, inSize: number, left: Float64Array, width: number) {
  const product = new Float64Array(inSize * width);
  for (let o = 0; o < outSize; o++) {
    for (let i = 0; i < inSize; i++) {
      const value = matrix[o * inSize + i];
      for (let w = 0; w < width; w++) product[i * width + w] += value * left[o * width + w];
    }
  }
  return product;
}

/** Factors of a LoRA module from the first of the singular values: `up` is `left · values`, `down` is `rightᵀ`, both row-major. */
export function factorsOf(
  { values, left, right }: SingularValues,
  rank: number,
): { up: Float32Array<ArrayBuffer>; down: Float32Array<ArrayBuffer> } {
  const up = new Float32Array(left.rows * rank), down = new Float32Array(rank * right.rows);
  for (let r = 0; r < rank; r++) {
    for (let o = 0; o < left.rows; o++) up[o * rank + r] = left.get(o, r) * values[r];
    for (let i = 0; i < right.rows; i++) down[r * right.rows + i] = right.get(i, r);
  }
  return { up, down };
}
