import { defineMultiOp, defineOp } from "../graph/op.ts";
import { adaptiveScalars, adaptiveStep } from "./dadapt_step.ts";
import { updateKernel, updateType } from "./kernels/update.ts";
import { float } from "./kernels/wgsl.ts";

/** Betas of Adan's three running means. */
export interface DadaptAdanAttributes {
  readonly beta1: number;
  readonly beta2: number;
  readonly beta3: number;
}

/**
 * The running means of D-adaptive Adan; overwrites the means of gradients, of their differences and of squares, the weighted sum s, and the gradient before
 * this one. `step` is what `dadaptStep` gives; its rate is d times the learning rate.
 *
 *     δ = g − previous, 0 before the first update
 *     m ← β₁·m + (1 − β₁)·rate·g     n ← β₂·n + (1 − β₂)·rate·δ
 *     v ← β₃·v + (1 − β₃)·(g + β₂·δ)²     s ← β₃·s + (1 − β₃)·rate·g
 *
 * @see Xie et al. 2022, https://arxiv.org/abs/2208.06677, and dadaptation 3.1
 */
export const dadaptAdanMoments = defineMultiOp<
  readonly [
    "firstMoment",
    "differenceMoment",
    "secondMoment",
    "weightedSum",
    "previous",
    "gradient",
    "step",
  ],
  DadaptAdanAttributes
>({
  name: "dadapt_adan_moments",
  inputs: [
    "firstMoment",
    "differenceMoment",
    "secondMoment",
    "weightedSum",
    "previous",
    "gradient",
    "step",
  ],
  overwrites: 5,
  type: ({ step: _step, ...elements }) => updateType(elements, 5),
  kernel: ({ inputs: { step, ...elements }, attributes: { beta1, beta2, beta3 }, target }) =>
    updateKernel(
      { target, elements, overwrites: 5, small: { step } },
      `
  let g = gradient[i];
  let change = select(g - previous[i], 0.0, step[${adaptiveStep.updates}] == 0.0);
  let ahead = g + change * ${float(beta2)};
  firstMoment[i] = firstMoment[i] * ${float(beta1)} + g * (step[0] * ${float(1 - beta1)});
  differenceMoment[i] = differenceMoment[i] * ${float(beta2)} + change * (step[0] * ${float(1 - beta2)});
  secondMoment[i] = secondMoment[i] * ${float(beta3)} + ahead * ahead * ${float(1 - beta3)};
  weightedSum[i] = weightedSum[i] * ${float(beta3)} + g * (step[0] * ${float(1 - beta3)});
  previous[i] = g;`,
    ),
  samples: [0, 3].map((updates) => ({
    inputs: {
      firstMoment: [33],
      differenceMoment: [33],
      secondMoment: [33],
      weightedSum: [33],
      previous: [33],
      gradient: [33],
      step: [4],
    },
    values: { step: [0.5, updates, 1, 0.1] },
    attributes: { beta1: 0.9, beta2: 0.75, beta3: 0.99 },
    expect: (m: number[], n: number[], v: number[], s: number[], before: number[], g: number[]) => {
      const change = g.map((x, i) => updates ? x - before[i] : 0);
      return [
        m.map((x, i) => 0.9 * x + 0.1 * 0.5 * g[i]),
        n.map((x, i) => 0.75 * x + 0.25 * 0.5 * change[i]),
        v.map((x, i) => 0.99 * x + 0.01 * (g[i] + 0.75 * change[i]) ** 2),
        s.map((x, i) => 0.99 * x + 0.01 * 0.5 * g[i]),
        g,
      ];
    },
  })),
});

/** Constants of a D-adaptive Adan's move. */
export interface DadaptAdanMoveAttributes {
  readonly beta2: number;
  readonly epsilon: number;
  readonly weightDecay: number;
  /** Decays before the move, as AdamW does; else the move is divided by `1 + rate·decay` afterwards. */
  readonly decayFirst: boolean;
}

/** The move of D-adaptive Adan, `u = (m + β₂·n) / (√v + ε)` and decay; overwrites the parameter, if the estimate said that this step moves. */
export const dadaptAdanMove = defineOp<
  readonly ["parameter", "firstMoment", "differenceMoment", "secondMoment", "step", "scalars"],
  DadaptAdanMoveAttributes
>({
  name: "dadapt_adan_move",
  inputs: ["parameter", "firstMoment", "differenceMoment", "secondMoment", "step", "scalars"],
  overwrites: 1,
  type: ({ step: _step, scalars: _scalars, ...elements }) => updateType(elements, 1)[0],
  kernel: ({ inputs: { step, scalars, ...elements }, attributes, target }) => {
    const { beta2, epsilon, weightDecay, decayFirst } = attributes, decay = `step[0] * ${float(weightDecay)}`;
    return updateKernel(
      { target, elements, overwrites: 1, small: { step, scalars } },
      `
  if (scalars[${adaptiveScalars.moves}] == 0.0) { return; }
  let change = (firstMoment[i] + differenceMoment[i] * ${float(beta2)}) / (sqrt(secondMoment[i]) + ${float(epsilon)});
  parameter[i] = ${
        decayFirst ? `parameter[i] * (1.0 - ${decay}) - change` : `(parameter[i] - change) / (1.0 + ${decay})`
      };`,
    );
  },
  samples: [true, false].map((decayFirst) => ({
    inputs: {
      parameter: [33],
      firstMoment: [33],
      differenceMoment: [33],
      secondMoment: [33],
      step: [4],
      scalars: [4],
    },
    values: { step: [0.5, 2, 1, 0.1], scalars: [0.1, 0, 3, 1] },
    range: [0.1, 1] as const,
    attributes: { beta2: 0.75, epsilon: 1e-3, weightDecay: 0.125, decayFirst },
    expect: (p: number[], m: number[], n: number[], v: number[]) =>
      p.map((x, i) => {
        const move = (m[i] + 0.75 * n[i]) / (Math.sqrt(v[i]) + 1e-3);
        return decayFirst ? x * (1 - 0.0625) - move : (x - move) / 1.0625;
      }),
  })),
});
