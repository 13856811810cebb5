import { defineMultiOp } from "../graph/op.ts";
import { haltedType, logBase, oneMinusPower, updateKernel, updateType } from "./kernels/update.ts";
import { float } from "./kernels/wgsl.ts";

/** AdamW's constants; PyTorch's names and defaults are in the optimizer's settings. */
export interface AdamWAttributes {
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  readonly weightDecay: number;
}

/**
 * One step of AdamW with decoupled weight decay, in PyTorch's order of operations; overwrites parameter and both moments.
 *
 * Nothing changes where `halted` is not 0, see `haltUnlessFinite`. `rate` `[1]` is the learning rate, `clock` `[1]` the number of this step, from 1. All other
 * tensors are flat and of one length.
 *
 * @see Loshchilov and Hutter 2019, https://arxiv.org/abs/1711.05101
 */
export const adamwStep = defineMultiOp<
  readonly ["parameter", "firstMoment", "secondMoment", "gradient", "halted", "rate", "clock"],
  AdamWAttributes
>({
  name: "adamw_step",
  inputs: ["parameter", "firstMoment", "secondMoment", "gradient", "halted", "rate", "clock"],
  overwrites: 3,
  type: ({ halted: _halted, rate: _rate, clock: _clock, ...elements }) => updateType(elements, 3),
  kernel: ({ inputs, attributes: { beta1, beta2, epsilon, weightDecay }, target }) => {
    const { halted, rate, clock, ...elements } = inputs;
    return updateKernel(
      { target, elements, overwrites: 3, small: { halted, rate, clock } },
      `
  let g = gradient[i];
  let m = firstMoment[i] + (g - firstMoment[i]) * ${float(1 - beta1)};
  let v = secondMoment[i] * ${float(beta2)} + g * g * ${float(1 - beta2)};
  firstMoment[i] = m;
  secondMoment[i] = v;
  let size = rate[0] / oneMinusPower(clock[0], ${logBase(beta1)});
  let scale = sqrt(oneMinusPower(clock[0], ${logBase(beta2)}));
  let decayed = parameter[i] * (1.0 - rate[0] * ${float(weightDecay)});
  parameter[i] = decayed - size * (m / (sqrt(v) / scale + ${float(epsilon)}));`,
      oneMinusPower,
    );
  },
  samples: [[1, 0], [7, 0], [20000, 0], [7, 1]].map(([t, halted]) => ({
    inputs: {
      parameter: [7],
      firstMoment: [7],
      secondMoment: [7],
      gradient: [7],
      halted: haltedType,
      rate: [1],
      clock: [1],
    },
    values: { clock: [t], halted: [halted] },
    range: [0.1, 1] as const,
    attributes: { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0.01 },
    expect: (p: number[], m: number[], v: number[], g: number[], _: number[], [rate]: number[]) => {
      if (halted) return [p, m, v];
      const first = m.map((x, i) => 0.9 * x + 0.1 * g[i]), second = v.map((x, i) => 0.999 * x + 0.001 * g[i] ** 2);
      return [
        p.map((x, i) =>
          x * (1 - rate * 0.01) -
          rate / (1 - 0.9 ** t) * first[i] / (Math.sqrt(second[i] / (1 - 0.999 ** t)) + 1e-8)
        ),
        first,
        second,
      ];
    },
  })),
});
