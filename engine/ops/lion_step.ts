import { defineMultiOp } from "../graph/op.ts";
import { haltedType, updateKernel, updateType } from "./kernels/update.ts";
import { float } from "./kernels/wgsl.ts";

/** Lion's constants. */
export interface LionAttributes {
  readonly beta1: number;
  readonly beta2: number;
  readonly weightDecay: number;
}

/**
 * One step of Lion: the sign of an interpolated momentum, after decoupled weight decay; overwrites parameter and momentum.
 *
 * Nothing changes where `halted` is not 0, see `haltUnlessFinite`. `rate` `[1]` is the learning rate; all other tensors are flat and of one length.
 *
 * @see Chen et al. 2023, https://arxiv.org/abs/2302.06675
 */
export const lionStep = defineMultiOp<
  readonly ["parameter", "momentum", "gradient", "halted", "rate"],
  LionAttributes
>({
  name: "lion_step",
  inputs: ["parameter", "momentum", "gradient", "halted", "rate"],
  overwrites: 2,
  type: ({ halted: _halted, rate: _rate, ...elements }) => updateType(elements, 2),
  kernel: ({ inputs: { halted, rate, ...elements }, attributes: { beta1, beta2, weightDecay }, target }) =>
    updateKernel(
      { target, elements, overwrites: 2, small: { halted, rate } },
      `
  let g = gradient[i];
  let m = momentum[i];
  let direction = sign(m * ${float(beta1)} + g * ${float(1 - beta1)});
  parameter[i] = parameter[i] * (1.0 - rate[0] * ${float(weightDecay)}) - rate[0] * direction;
  momentum[i] = m * ${float(beta2)} + g * ${float(1 - beta2)};`,
    ),
  samples: [0, 1].map((halted) => ({
    inputs: { parameter: [33], momentum: [33], gradient: [33], halted: haltedType, rate: [1] },
    values: { rate: [0.125], halted: [halted] },
    attributes: { beta1: 0.9, beta2: 0.99, weightDecay: 0.1 },
    expect: (p: number[], m: number[], g: number[]) =>
      halted ? [p, m] : [
        p.map((x, i) => x * (1 - 0.125 * 0.1) - 0.125 * Math.sign(0.9 * m[i] + 0.1 * g[i])),
        m.map((x, i) => 0.99 * x + 0.01 * g[i]),
      ],
  })),
});
