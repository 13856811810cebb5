import { defineOp } from "../graph/op.ts";
import { gemm } from "./kernels/gemm.ts";
import { factorType, floatType } from "./kernels/wgsl.ts";

/** How the operands of both products lie, and their factors. */
export interface MatmulPairAttributes {
  /** `a` and `a2` are stored `[k, m]`. */
  readonly transposeA?: boolean;
  /** `b` and `b2` are stored `[n, k]`. */
  readonly transposeB?: boolean;
  /** Factor on the first product, not on bias and addend; 1 when left out. */
  readonly scale?: number;
  /** Factor on the second product; 1 when left out. */
  readonly scale2?: number;
}

/**
 * Sum of two matrix products, `scale * a·b + scale2 * a2·b2 + bias + addend`, in f32 and in one dispatch: a layer with its low-rank part.
 *
 * `a` is `[m, k]`, `b` `[k, n]`, `a2` `[m, k2]`, `b2` `[k2, n]` (or all stored transposed), `bias` is `[n]`, `addend` and the result are `[m, n]`.
 * Made of two `matmul`s by the planner, after differentiation: it has no gradient of its own.
 */
export const matmulPair = defineOp<readonly ["a", "b", "bias?", "addend?", "a2", "b2"], MatmulPairAttributes>({
  name: "matmul_pair",
  inputs: ["a", "b", "bias?", "addend?", "a2", "b2"],
  type: ({ a, b, a2, b2 }, { transposeA, transposeB }) => {
    const rows = (shape: readonly number[]) => transposeA ? shape[1] : shape[0];
    const columns = (shape: readonly number[]) => transposeB ? shape[0] : shape[1];
    if (rows(a.shape) !== rows(a2.shape) || columns(b.shape) !== columns(b2.shape)) {
      throw new TypeError(
        `products differ in size: ${rows(a.shape)} × ${columns(b.shape)} and ${rows(a2.shape)} × ${columns(b2.shape)}`,
      );
    }
    return { shape: [rows(a.shape), columns(b.shape)], dtype: "f32" };
  },
  kernel: ({ inputs: { a, b, bias, addend, a2, b2 }, output, attributes, target }) => {
    const [m, n] = output.shape, { transposeA, transposeB, scale, scale2 } = attributes, sumAxis = transposeA ? 0 : 1;
    return gemm({
      m,
      n,
      k: a.shape[sumAxis],
      transposeA,
      transposeB,
      scale,
      dtypeA: factorType(a),
      dtypeB: factorType(b),
      bias: bias && floatType(bias),
      addend: addend && floatType(addend),
      result: floatType(output),
      second: { k: a2.shape[sumAxis], dtypeA: factorType(a2), dtypeB: factorType(b2), scale: scale2 },
    }, target);
  },
  samples: [
    {
      inputs: { a: [33, 40], b: [7, 40], bias: [7], a2: [33, 3], b2: [7, 3] },
      attributes: { transposeB: true, scale2: 0.5 },
      expect: sumOfProducts(33, 7, 40, 3, true),
    },
    {
      inputs: { a: [3, 77], b: [77, 16], addend: [3, 16], a2: [3, 4], b2: [4, 16] },
      attributes: { scale2: 0.5 },
      expect: sumOfProducts(3, 16, 77, 4, false),
    },
    {
      inputs: { a: [32, 48], b: { shape: [40, 48], dtype: "f16" }, a2: [32, 16], b2: [40, 16] },
      attributes: { transposeB: true, scale2: 0.5 },
      expect: sumOfProducts(32, 40, 48, 16, true),
    },
  ],
});

/** Both products by their definition, for the samples. */
function sumOfProducts(m: number, n: number, k: number, k2: number, transposeB: boolean) {
  const product = (a: number[], b: number[], length: number, row: number, column: number) => {
    let sum = 0;
    for (let t = 0; t < length; t++) {
      sum += a[row * length + t] * b[transposeB ? column * length + t : t * n + column];
    }
    return sum;
  };
  return (a: number[], b: number[], bias: number[] | null, addend: number[] | null, a2: number[], b2: number[]) =>
    Array.from({ length: m * n }, (_, i) => {
      const column = i % n, row = Math.floor(i / n);
      return product(a, b, k, row, column) + 0.5 * product(a2, b2, k2, row, column) + (bias?.[column] ?? 0) +
        (addend?.[i] ?? 0);
    });
}
