import { defineMultiOp } from "../graph/op.ts";
import { haltedType, updateKernel, updateType } from "./kernels/update.ts";
import { float } from "./kernels/wgsl.ts";

/** Constants of gradient descent with Nesterov's momentum. */
export interface SgdAttributes {
  readonly momentum: number;
  readonly weightDecay: number;
}

/**
 * One step of gradient descent with Nesterov's momentum as PyTorch has it, weight decay in the gradient; overwrites parameter and momentum.
 *
 * Nothing changes where `halted` is not 0, see `haltUnlessFinite`. `rate` `[1]` is the learning rate; all other tensors are flat and of one length.
 *
 * @see Sutskever et al. 2013, https://proceedings.mlr.press/v28/sutskever13.html
 */
export const sgdStep = defineMultiOp<readonly ["parameter", "momentum", "gradient", "halted", "rate"], SgdAttributes>({
  name: "sgd_step",
  inputs: ["parameter", "momentum", "gradient", "halted", "rate"],
  overwrites: 2,
  type: ({ halted: _halted, rate: _rate, ...elements }) => updateType(elements, 2),
  kernel: ({ inputs: { halted, rate, ...elements }, attributes, target }) =>
    updateKernel(
      { target, elements, overwrites: 2, small: { halted, rate } },
      `
  let g = gradient[i] + parameter[i] * ${float(attributes.weightDecay)};
  let m = momentum[i] * ${float(attributes.momentum)} + g;
  momentum[i] = m;
  parameter[i] -= rate[0] * (g + m * ${float(attributes.momentum)});`,
    ),
  samples: [0, 1].map((halted) => ({
    inputs: { parameter: [33], momentum: [33], gradient: [33], halted: haltedType, rate: [1] },
    values: { rate: [0.125], halted: [halted] },
    attributes: { momentum: 0.9, weightDecay: 0.1 },
    expect: (p: number[], m: number[], g: number[]) => {
      if (halted) return [p, m];
      const decayed = g.map((x, i) => x + 0.1 * p[i]), after = m.map((x, i) => 0.9 * x + decayed[i]);
      return [p.map((x, i) => x - 0.125 * (decayed[i] + 0.9 * after[i])), after];
    },
  })),
});
