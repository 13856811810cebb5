import { defineOp, type Gradients } from "../graph/op.ts";
import { reshape } from "../graph/tensor.ts";
import { elementCount } from "../graph/types.ts";
import { rowKernel, type RowWriter } from "./kernels/rows.ts";
import { float } from "./kernels/wgsl.ts";
import { multiply } from "./multiply.ts";
import { sum } from "./reduce_sum.ts";

/** What is added to the variance, so that constant rows divide by something. */
export interface LayerNormAttributes {
  readonly epsilon: number;
}

/** Declares `mean` and `inverse`, 1 / standard deviation, of the row `x`: centred first, for mean(x²) − mean(x)² cancels. */
function statistics(row: RowWriter, epsilon: number): string[] {
  return [
    row.sum("total", "x"),
    "let mean = total / SIZE;",
    row.sum("squares", "(x - mean) * (x - mean)"),
    `let inverse = inverseSqrt(squares / SIZE + ${float(epsilon)});`,
  ];
}

// With n = (x − mean)·inverse and g = weight·dy:  dx = inverse·(g − mean(g) − n·mean(g·n))
const layerNormGradient = defineOp<readonly ["x", "dy", "weight?"], LayerNormAttributes>({
  name: "layer_norm_gradient",
  inputs: ["x", "dy", "weight?"],
  type: ({ x }) => ({ shape: x.shape, dtype: "f32" }),
  kernel: ({ inputs: { x, dy, weight }, output, attributes: { epsilon }, target }) => {
    const g = weight ? "(dy * weight)" : "dy", n = "((x - mean) * inverse)";
    return rowKernel({ target, output, rows: { x, dy }, columns: { weight } }, (row) => [
      ...statistics(row, epsilon),
      row.sums(["gradients", "products"], [g, `${g} * ${n}`]),
      row.write(`inverse * (${g} - gradients / SIZE - ${n} * (products / SIZE))`),
    ]);
  },
  samples: [],
});

/**
 * Layer normalization: each row (last axis) is brought to mean 0 and variance 1, then scaled and shifted.
 *
 * `x` is `[..., c]`; `weight` and `bias` are `[c]`, or left out. The variance is the biased one, as in PyTorch.
 *
 * @see Ba et al. 2016, https://arxiv.org/abs/1607.06450
 */
export const layerNorm = defineOp<readonly ["x", "weight?", "bias?"], LayerNormAttributes>({
  name: "layer_norm",
  narrows: 1,
  inputs: ["x", "weight?", "bias?"],
  type: ({ x, weight, bias }) => {
    const size = x.shape[x.shape.length - 1];
    for (const [name, type] of Object.entries({ weight, bias })) {
      if (type && type.shape.join() !== `${size}`) {
        throw new TypeError(`shapes differ: x is [${x.shape.join(", ")}], ${name} is [${type.shape.join(", ")}]`);
      }
    }
    return { shape: x.shape, dtype: "f32" };
  },
  kernel: ({ inputs: { x, weight, bias }, output, attributes: { epsilon }, target }) =>
    rowKernel({ target, output, rows: { x }, columns: { weight, bias } }, (row) => [
      ...statistics(row, epsilon),
      row.write(`(x - mean) * inverse${weight ? " * weight" : ""}${bias ? " + bias" : ""}`),
    ]),
  // y = n·weight + bias:  dx as above,  dweight = Σ rows dy·n,  dbias = Σ rows dy
  gradient: (dy, { x, weight }, { attributes, wants }): Gradients => {
    const size = x.shape[x.shape.length - 1], rows = [elementCount(x.shape) / size, size];
    return {
      x: wants.x ? layerNormGradient(x, dy, weight, attributes) : null,
      weight: wants.weight ? sum(reshape(multiply(dy, layerNorm(x, null, null, attributes)), rows), [0]) : null,
      bias: wants.bias ? sum(reshape(dy, rows), [0]) : null,
    };
  },
  samples: [
    {
      inputs: { x: [7, 33], weight: [33], bias: [33] },
      attributes: { epsilon: 1e-5 },
      expect: (x, weight, bias) => normalized(x, weight, bias),
    },
    {
      inputs: { x: [77, 40], weight: { shape: [40], dtype: "f16" }, bias: { shape: [40], dtype: "f16" } },
      attributes: { epsilon: 1e-5 },
      expect: (x, weight, bias) => normalized(x, weight, bias),
    },
    {
      // Far from zero: a variance that is not centred first would be off.
      inputs: { x: [3, 36] },
      attributes: { epsilon: 1e-5 },
      range: [99, 101],
      tolerance: 3e-5,
      expect: (x) => normalized(x, Array(36).fill(1), Array(36).fill(0)),
    },
    {
      // Longer than the registers hold.
      inputs: { x: [3, 2052], weight: [2052] },
      attributes: { epsilon: 1e-5 },
      expect: (x, weight) => normalized(x, weight, Array(2052).fill(0)),
    },
  ],
});

function normalized(x: number[], weight: number[], bias: number[]): number[] {
  const size = weight.length;
  return Array.from({ length: x.length / size }, (_, row) => x.slice(row * size, row * size + size)).flatMap((row) => {
    const mean = row.reduce((a, b) => a + b) / size;
    const deviation = Math.sqrt(row.reduce((a, b) => a + (b - mean) ** 2, 0) / size + 1e-5);
    return row.map((v, i) => (v - mean) / deviation * weight[i] + bias[i]);
  });
}
