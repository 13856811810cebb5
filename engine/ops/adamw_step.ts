import { defineMultiOp } from "../graph/op.ts";
import { elementCount } from "../graph/types.ts";
import { binding, float, grid } from "./kernels/wgsl.ts";

/** AdamW's constants; PyTorch's names and defaults are in the optimizer's settings. */
export interface AdamWAttributes {
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  readonly weightDecay: number;
}

const inputs = {
  parameter: [7],
  firstMoment: [7],
  secondMoment: [7],
  gradient: [7],
  halted: { shape: [1], dtype: "u32" as const },
  rate: [3],
};

/**
 * One step of AdamW with decoupled weight decay, in PyTorch's order of operations; overwrites parameter and both moments.
 *
 * `rate` is `[3]`: learning rate, 1 − β₁ᵗ and √(1 − β₂ᵗ) for step t from 1. Nothing changes where `halted` (u32 `[1]`) is not 0,
 * see `haltUnlessFinite`. All other tensors are flat and of one length.
 *
 * @see Loshchilov and Hutter 2019, https://arxiv.org/abs/1711.05101
 */
export const adamwStep = defineMultiOp<
  readonly ["parameter", "firstMoment", "secondMoment", "gradient", "halted", "rate"],
  AdamWAttributes
>({
  name: "adamw_step",
  inputs: ["parameter", "firstMoment", "secondMoment", "gradient", "halted", "rate"],
  overwrites: 3,
  type: ({ parameter, firstMoment, secondMoment, gradient }) => {
    for (const other of [firstMoment, secondMoment, gradient]) {
      if (other.shape.join() !== parameter.shape.join()) {
        throw new TypeError(
          `shapes differ: parameter is [${parameter.shape.join(", ")}], another tensor [${other.shape.join(", ")}]`,
        );
      }
    }
    return [parameter, parameter, parameter];
  },
  kernel: ({ inputs: { parameter }, attributes: { beta1, beta2, epsilon, weightDecay }, target }) => {
    const count = elementCount(parameter.shape), lines = grid(count, target);
    return {
      workgroups: lines.workgroups,
      wgsl: `${binding(0, "parameter", "f32", "read_write")}
${binding(1, "first_moment", "f32", "read_write")}
${binding(2, "second_moment", "f32", "read_write")}
${binding(3, "gradient", "f32", "read")}
${binding(4, "halted", "u32", "read")}
${binding(5, "rate", "f32", "read")}
const COUNT = ${count}u;

${lines.attribute}
fn main(${lines.parameters}) {
  ${lines.index}
  if (i >= COUNT || halted[0] != 0u) { return; }
  let g = gradient[i];
  let m = first_moment[i] + (g - first_moment[i]) * ${float(1 - beta1)};
  let v = second_moment[i] * ${float(beta2)} + g * g * ${float(1 - beta2)};
  first_moment[i] = m;
  second_moment[i] = v;
  let decayed = parameter[i] * (1.0 - rate[0] * ${float(weightDecay)});
  parameter[i] = decayed - rate[0] / rate[1] * (m / (sqrt(v) / rate[2] + ${float(epsilon)}));
}
`,
    };
  },
  samples: [{
    inputs,
    integersBelow: 1, // 0: the flag is not set
    range: [0.1, 1],
    attributes: { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0.01 },
    expect: (p, m, v, g, _, rate) => {
      const first = m.map((x, i) => 0.9 * x + 0.1 * g[i]), second = v.map((x, i) => 0.999 * x + 0.001 * g[i] ** 2);
      return [
        p.map((x, i) =>
          x * (1 - rate[0] * 0.01) - rate[0] / rate[1] * first[i] / (Math.sqrt(second[i]) / rate[2] + 1e-8)
        ),
        first,
        second,
      ];
    },
  }, {
    inputs,
    integersBelow: 2 ** 30,
    attributes: { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0.01 },
    expect: (p, m, v) => [p, m, v],
  }],
});
