import { defineOp, type Gradients } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import type { TensorType } from "../graph/types.ts";
import { gemm } from "./kernels/gemm.ts";
import { factorType, floatType } from "./kernels/wgsl.ts";
import { matmulPair } from "./matmul_pair.ts";
import { sum } from "./reduce_sum.ts";

/** How the operands lie, and a factor on the product. */
export interface MatmulAttributes {
  /** `a` is stored `[k, m]`. */
  readonly transposeA?: boolean;
  /** `b` is stored `[n, k]`, as PyTorch stores the weight of a linear layer. */
  readonly transposeB?: boolean;
  /** Factor on the product, not on bias and addend; 1 when left out. */
  readonly scale?: number;
}

function sizes(a: TensorType, b: TensorType, { transposeA, transposeB }: MatmulAttributes) {
  const batch = a.shape.length === 3 ? a.shape[0] : 1;
  const [rowsA, columnsA] = a.shape.slice(-2), [rowsB, columnsB] = b.shape.slice(-2);
  return {
    batch,
    m: transposeA ? columnsA : rowsA,
    k: transposeA ? rowsA : columnsA,
    kOfB: transposeB ? columnsB : rowsB,
    n: transposeB ? rowsB : columnsB,
  };
}

/**
 * Matrix product `scale * a·b + bias + addend`, of matrices or of a batch of them, summed in f32; of f16 in blocks in f16, on a device that is opened so.
 *
 * `a` is `[m, k]` or `[batch, m, k]`, `b` is `[k, n]` or `[batch, k, n]` (or stored transposed), `bias` is `[n]`, `addend` and the result are
 * `[m, n]` or `[batch, m, n]`.
 */
export const matmul = defineOp<readonly ["a", "b", "bias?", "addend?"], MatmulAttributes>({
  name: "matmul",
  narrows: 1,
  inputs: ["a", "b", "bias?", "addend?"],
  type: ({ a, b, bias, addend }, attributes) => {
    if (a.shape.length !== b.shape.length || (a.shape.length !== 2 && a.shape.length !== 3)) {
      throw new TypeError(
        `a is [${a.shape.join(", ")}], b is [${b.shape.join(", ")}], wanted two matrices or two batches`,
      );
    }
    const { batch, m, n, k, kOfB } = sizes(a, b, attributes);
    if (k !== kOfB || (a.shape.length === 3 && b.shape[0] !== batch)) {
      throw new TypeError(
        `shapes differ: a is [${a.shape.join(", ")}]${attributes.transposeA ? " transposed" : ""}, ` +
          `b is [${b.shape.join(", ")}]${attributes.transposeB ? " transposed" : ""}`,
      );
    }
    const shape = a.shape.length === 3 ? [batch, m, n] : [m, n];
    if (bias && bias.shape.join() !== `${n}`) throw new TypeError(`bias is [${bias.shape.join(", ")}], wanted [${n}]`);
    if (addend && addend.shape.join() !== shape.join()) {
      throw new TypeError(`addend is [${addend.shape.join(", ")}], wanted [${shape.join(", ")}]`);
    }
    return { shape, dtype: "f32" };
  },
  kernel: ({ inputs: { a, b, bias, addend }, output, attributes, target }) => {
    const { transposeA, transposeB, scale } = attributes, { batch, m, n, k } = sizes(a, b, attributes);
    return gemm({
      batch,
      m,
      n,
      k,
      transposeA,
      transposeB,
      scale,
      dtypeA: factorType(a),
      dtypeB: factorType(b),
      bias: bias && floatType(bias),
      addend: addend && floatType(addend),
      result: floatType(output),
    }, target);
  },
  // C = s·AB + bias + addend:  dA = s·dC·Bᵀ,  dB = s·Aᵀ·dC,  dbias = Σ rows dC,  daddend = dC; transposed storage swaps the factors.
  gradient: (dy, { a, b }, { attributes: { transposeA, transposeB, scale }, wants }): Gradients => {
    const left = () =>
      transposeA
        ? matmul(b, dy, null, null, { transposeA: transposeB, transposeB: true, scale })
        : matmul(dy, b, null, null, { transposeB: !transposeB, scale });
    const right = () =>
      transposeB
        ? matmul(dy, a, null, null, { transposeA: true, transposeB: transposeA, scale })
        : matmul(a, dy, null, null, { transposeA: !transposeA, scale });
    return {
      a: wants.a ? left() : null,
      b: wants.b ? right() : null,
      bias: wants.bias ? sum(dy, dy.shape.map((_, axis) => axis).slice(0, -1)) : null,
      addend: dy,
    };
  },
  withAddend: ({ a, b, bias, addend }, attributes, added): Tensor | null =>
    addend ? null : matmul(a, b, bias, added, attributes),
  // A layer's product and its low-rank part, whichever was added to the other: the longer sum leads, so that it chooses the tile.
  absorb: (name, producer, own) => {
    if (name !== "addend" || producer.op !== matmul.definition) return null;
    const attributes = [producer.attributes, own.attributes] as readonly MatmulAttributes[];
    const [theirs, ours] = attributes;
    if (!theirs.transposeA !== !ours.transposeA || !theirs.transposeB !== !ours.transposeB) return null;
    const [a, b, bias, addend] = producer.inputs, [a2, b2, bias2] = own.inputs;
    if (a!.shape.length !== 2 || (bias && bias2)) return null;
    const { transposeA = false, transposeB = false } = ours, sumAxis = transposeA ? 0 : 1;
    const ownFirst = a2!.shape[sumAxis] > a!.shape[sumAxis];
    const [first, second] = ownFirst ? [ours, theirs] : [theirs, ours];
    return {
      op: matmulPair.definition,
      inputs: ownFirst ? [a2, b2, bias ?? bias2, addend, a, b] : [a, b, bias ?? bias2, addend, a2, b2],
      attributes: { transposeA, transposeB, scale: first.scale ?? 1, scale2: second.scale ?? 1 },
    };
  },
  samples: [
    { inputs: { a: [1, 1], b: [1, 1] }, expect: product(1, 1, 1) },
    {
      inputs: { a: [3, 7], b: [7, 5], bias: [5], addend: [3, 5] },
      attributes: { scale: 0.5 },
      expect: product(3, 5, 7, { scale: 0.5 }),
    },
    {
      inputs: { a: [33, 7], b: [16, 7], bias: [16] },
      attributes: { transposeB: true },
      expect: product(33, 16, 7, { transposeB: true }),
    },
    {
      inputs: { a: [77, 33], b: [77, 4] },
      attributes: { transposeA: true },
      expect: product(33, 4, 77, { transposeA: true }),
    },
    {
      inputs: { a: [8, 3], b: [40, 8] },
      attributes: { transposeA: true, transposeB: true },
      expect: product(3, 40, 8, { transposeA: true, transposeB: true }),
    },
    {
      inputs: { a: [2, 7, 3], b: [2, 9, 3] },
      attributes: { transposeB: true },
      expect: product(7, 9, 3, { transposeB: true }, 2),
    },
    {
      inputs: { a: [32, 48], b: { shape: [40, 48], dtype: "f16" } },
      attributes: { transposeB: true },
      expect: product(32, 40, 48, { transposeB: true }),
    },
    { inputs: { a: [65, 16], b: [16, 36] }, expect: product(65, 36, 16) },
  ],
});

/** The product by its definition, for the samples. */
function product(m: number, n: number, k: number, attributes: MatmulAttributes = {}, batch = 1) {
  const { transposeA, transposeB, scale = 1 } = attributes;
  return (a: number[], b: number[], bias: number[] | null, addend: number[] | null) =>
    Array.from({ length: batch * m * n }, (_, i) => {
      const column = i % n, row = Math.floor(i / n) % m, matrix = Math.floor(i / (m * n));
      let sum = 0;
      for (let t = 0; t < k; t++) {
        sum += a[matrix * m * k + (transposeA ? t * m + row : row * k + t)] *
          b[matrix * n * k + (transposeB ? column * k + t : t * n + column)];
      }
      return sum * scale + (bias?.[column] ?? 0) + (addend?.[i] ?? 0);
    });
}
