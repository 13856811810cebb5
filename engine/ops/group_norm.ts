import { defineComposite, defineOp, type Gradients } from "../graph/op.ts";
import { reshape, type Tensor } from "../graph/tensor.ts";
import type { TensorType } from "../graph/types.ts";
import {
  applyKernel,
  gradientKernel,
  gradientMeansKernel,
  groupNormSizes,
  statisticsKernel,
} from "./kernels/group_norm.ts";
import { heldGradientKernel, heldGroupKernel } from "./kernels/group_norm_held.ts";
import { multiply } from "./multiply.ts";
import { sum } from "./reduce_sum.ts";
import { siluGradient } from "./silu.ts";

/** How a group normalization is computed. */
export interface GroupNormAttributes {
  /** Groups that the channels are split into; SD's U-Net and VAE have 32. */
  readonly groups: number;
  /** Added to the variance. */
  readonly epsilon: number;
  /** SiLU behind it, in the same pass. */
  readonly silu?: boolean;
}

function checkShapes(x: TensorType, weight: TensorType | null, bias: TensorType | null, groups: number): void {
  const channels = x.shape[x.shape.length - 1];
  if (x.shape.length < 3) throw new TypeError(`x is [${x.shape.join(", ")}], wanted [batch, positions, channels]`);
  if (channels % groups !== 0) throw new TypeError(`x is [${x.shape.join(", ")}], wanted channels in ${groups} groups`);
  for (const [name, type] of Object.entries({ weight, bias })) {
    if (type && type.shape.join() !== `${channels}`) {
      throw new TypeError(`shapes differ: x is [${x.shape.join(", ")}], ${name} is [${type.shape.join(", ")}]`);
    }
  }
}

// The gradient of group normalization flows through `groupNormApply` alone, which counts the statistics' share in.
const groupNormStatistics = defineOp<readonly ["x"], GroupNormAttributes>({
  name: "group_norm_statistics",
  inputs: ["x"],
  type: ({ x }, { groups }) => {
    checkShapes(x, null, null, groups);
    return { shape: [x.shape[0], groups, 2], dtype: "f32" };
  },
  // A GPU's have the same bits as with `kernelMaking` below, so a picture that is normalized again has the same statistics.
  kernel: ({ inputs: { x }, attributes: { groups, epsilon }, target }) => {
    const sizes = groupNormSizes(x, groups);
    return heldGroupKernel({ x, weight: null, bias: null }, null, sizes, { epsilon }, target) ??
      statisticsKernel(x, sizes, epsilon, target);
  },
  samples: [],
});

const groupNormGradientMeans = defineOp<
  readonly ["x", "dy", "statistics", "weight?", "bias?"],
  GroupNormAttributes
>({
  name: "group_norm_gradient_means",
  inputs: ["x", "dy", "statistics", "weight?", "bias?"],
  type: ({ statistics }) => statistics,
  kernel: ({ inputs, attributes: { groups, silu = false }, target }) =>
    gradientMeansKernel(inputs, groupNormSizes(inputs.x, groups), silu, target),
  samples: [],
});

const groupNormGradient = defineOp<
  readonly ["x", "dy", "statistics", "means", "weight?", "bias?"],
  GroupNormAttributes
>({
  name: "group_norm_gradient",
  inputs: ["x", "dy", "statistics", "means", "weight?", "bias?"],
  type: ({ x }) => ({ shape: x.shape, dtype: "f32" }),
  kernel: ({ inputs, output, attributes: { groups, silu = false }, target }) =>
    gradientKernel(inputs, output, groupNormSizes(inputs.x, groups), silu, target),
  kernelMaking: (name, producer, { inputs, output, attributes: { groups, silu = false }, target }) =>
    name === "means" && producer === groupNormGradientMeans.definition
      ? heldGradientKernel(inputs, output, groupNormSizes(inputs.x, groups), silu, target)
      : null,
  samples: [],
});

const groupNormApply = defineOp<readonly ["x", "statistics", "weight?", "bias?"], GroupNormAttributes>({
  name: "group_norm",
  narrows: 1,
  inputs: ["x", "statistics", "weight?", "bias?"],
  type: ({ x, weight, bias }, { groups }) => {
    checkShapes(x, weight, bias, groups);
    return { shape: x.shape, dtype: "f32" };
  },
  kernel: ({ inputs, output, attributes: { groups, silu = false }, target }) =>
    applyKernel(inputs, output, groupNormSizes(inputs.x, groups), silu, target),
  kernelMaking: (name, producer, { inputs, output, attributes: { groups, ...attributes }, target }) =>
    name === "statistics" && producer === groupNormStatistics.definition
      ? heldGroupKernel(inputs, output, groupNormSizes(inputs.x, groups), attributes, target)
      : null,
  // z = n·weight + bias, n = (x − mean)·inverse, y = silu(z) or z.  With dz = silu'(z)·dy and g = weight·dz:
  // dx = inverse·(g − mean(g) − n·mean(g·n)),  dweight = Σ dz·n,  dbias = Σ dz over batch and positions
  gradient: (dy, { x, statistics, weight, bias }, { attributes, wants }): Gradients => {
    const plain = { ...attributes, silu: false };
    const dz = () => attributes.silu ? siluGradient(groupNormApply(x, statistics, weight, bias, plain), dy) : dy;
    const overChannels = (value: Tensor) => {
      const channels = x.shape[x.shape.length - 1];
      return sum(reshape(value, [value.shape.reduce((a, b) => a * b) / channels, channels]), [0]);
    };
    const byX = () => {
      const means = groupNormGradientMeans(x, dy, statistics, weight, bias, attributes);
      return groupNormGradient(x, dy, statistics, means, weight, bias, attributes);
    };
    return {
      x: wants.x ? byX() : null,
      statistics: null,
      weight: wants.weight ? overChannels(multiply(dz(), groupNormApply(x, statistics, null, null, plain))) : null,
      bias: wants.bias ? overChannels(dz()) : null,
    };
  },
  samples: [],
});

/**
 * Group normalization: in each picture, every group of channels is brought to mean 0 and variance 1 over all positions, then each channel
 * is scaled and shifted, and SiLU follows where `silu` is set.
 *
 * `x` is `[batch, height, width, channels]` or `[batch, positions, channels]`; `weight` and `bias` are `[channels]`, or left out.
 *
 * @see Wu and He 2018, https://arxiv.org/abs/1803.08494
 */
export const groupNorm = defineComposite<readonly ["x", "weight?", "bias?"], GroupNormAttributes>({
  name: "group_norm",
  inputs: ["x", "weight?", "bias?"],
  samples: [
    sample([2, 7, 3, 6], { groups: 3, epsilon: 1e-5 }),
    sample([1, 33, 10], { groups: 2, epsilon: 1e-5, silu: true }),
    sample([2, 8, 8, 32], { groups: 4, epsilon: 1e-6, silu: true }),
    sample([1, 256, 20], { groups: 2, epsilon: 1e-5, silu: true }),
    sample([1, 3, 7, 200], { groups: 2, epsilon: 1e-5 }, "f16"),
    // Vectors of four channels that lie in two groups.
    sample([3, 64, 60], { groups: 10, epsilon: 1e-5, silu: true }),
    { ...sample([1, 77, 8], { groups: 2, epsilon: 1e-5 }), range: [99, 101], tolerance: 3e-5 },
  ],
}, (x, weight, bias, attributes) => groupNormApply(x, groupNormStatistics(x, attributes), weight, bias, attributes));

function sample(x: number[], attributes: GroupNormAttributes, dtype: "f32" | "f16" = "f32") {
  const channels = x[x.length - 1], positions = x.slice(1, -1).reduce((a, b) => a * b);
  const { groups, epsilon, silu } = attributes, perGroup = channels / groups;
  return {
    inputs: { x, weight: { shape: [channels], dtype }, bias: { shape: [channels], dtype } },
    attributes,
    expect: (x: number[], weight: number[], bias: number[]): number[] => {
      const groupOf = (i: number) =>
        Math.floor(i / (positions * channels)) * groups + Math.floor(i % channels / perGroup);
      const all = Array.from({ length: x.length / positions / perGroup }, () => [] as number[]);
      x.forEach((v, i) => all[groupOf(i)].push(v));
      const figures = all.map((values) => {
        const mean = values.reduce((a, b) => a + b) / values.length;
        const variance = values.reduce((a, b) => a + (b - mean) ** 2, 0) / values.length;
        return { mean, inverse: 1 / Math.sqrt(variance + epsilon) };
      });
      return x.map((v, i) => {
        const { mean, inverse } = figures[groupOf(i)];
        const z = (v - mean) * inverse * weight[i % channels] + bias[i % channels];
        return silu ? z / (1 + Math.exp(-z)) : z;
      });
    },
  };
}
