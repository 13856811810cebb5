import { defineMultiOp, defineOp } from "../graph/op.ts";
import { adaptiveScalars } from "./dadapt_step.ts";
import { updateKernel, updateType } from "./kernels/update.ts";
import { float } from "./kernels/wgsl.ts";

/** Constants of D-adaptive Adam's running means. */
export interface DadaptAdamAttributes {
  readonly beta1: number;
  readonly beta2: number;
  /** What the weighted sum of gradients keeps: √β₂, or β₂ in the preprint's form. */
  readonly keep: number;
}

/**
 * The running means of D-adaptive Adam; overwrites both moments and the weighted sum s of gradients. `step` is what `dadaptStep` gives; its rate is d times the learning rate.
 *
 *     m ← β₁·m + (1 − β₁)·rate·g     v ← β₂·v + (1 − β₂)·g²     s ← keep·s + (1 − keep)·rate·g
 *
 * Nothing changes at rate 0.
 *
 * @see Defazio and Mishchenko 2023, https://arxiv.org/abs/2301.07733
 */
export const dadaptAdamMoments = defineMultiOp<
  readonly ["firstMoment", "secondMoment", "weightedSum", "gradient", "step"],
  DadaptAdamAttributes
>({
  name: "dadapt_adam_moments",
  inputs: ["firstMoment", "secondMoment", "weightedSum", "gradient", "step"],
  overwrites: 3,
  type: ({ step: _step, ...elements }) => updateType(elements, 3),
  kernel: ({ inputs: { step, ...elements }, attributes: { beta1, beta2, keep }, target }) =>
    updateKernel(
      { target, elements, overwrites: 3, small: { step } },
      `
  if (step[0] == 0.0) { return; }
  let g = gradient[i];
  firstMoment[i] = firstMoment[i] * ${float(beta1)} + g * (step[0] * ${float(1 - beta1)});
  secondMoment[i] = secondMoment[i] * ${float(beta2)} + g * g * ${float(1 - beta2)};
  weightedSum[i] = weightedSum[i] * ${float(keep)} + g * (step[0] * ${float(1 - keep)});`,
    ),
  samples: [0.5, 0].map((rate) => ({
    inputs: { firstMoment: [33], secondMoment: [33], weightedSum: [33], gradient: [33], step: [4] },
    values: { step: [rate, 3, 1, 0.1] },
    attributes: { beta1: 0.9, beta2: 0.99, keep: 0.75 },
    expect: (m: number[], v: number[], s: number[], g: number[]) =>
      rate === 0 ? [m, v, s] : [
        m.map((x, i) => 0.9 * x + 0.1 * rate * g[i]),
        v.map((x, i) => 0.99 * x + 0.01 * g[i] ** 2),
        s.map((x, i) => 0.75 * x + 0.25 * rate * g[i]),
      ],
  })),
});

/** Constants of a D-adaptive Adam's move. */
export interface DadaptAdamMoveAttributes {
  readonly epsilon: number;
  /** Decay beside the gradient; 0 where it is part of the gradient. */
  readonly decoupledDecay: number;
}

/**
 * The move of D-adaptive Adam, `p ← p − decay·rate·p − m / (√v + ε)`; overwrites the parameter, if the estimate said that this step moves.
 *
 * `step` is the one that the moments were made with.
 */
export const dadaptAdamMove = defineOp<
  readonly ["parameter", "firstMoment", "secondMoment", "step", "scalars"],
  DadaptAdamMoveAttributes
>({
  name: "dadapt_adam_move",
  inputs: ["parameter", "firstMoment", "secondMoment", "step", "scalars"],
  overwrites: 1,
  type: ({ parameter, firstMoment, secondMoment }) => updateType({ parameter, firstMoment, secondMoment }, 1)[0],
  kernel: ({ inputs: { step, scalars, ...elements }, attributes: { epsilon, decoupledDecay }, target }) =>
    updateKernel(
      { target, elements, overwrites: 1, small: { step, scalars } },
      `
  if (scalars[${adaptiveScalars.moves}] == 0.0) { return; }
  let decayed = parameter[i] * (1.0 - step[0] * ${float(decoupledDecay)});
  parameter[i] = decayed - firstMoment[i] / (sqrt(secondMoment[i]) + ${float(epsilon)});`,
    ),
  samples: [1, 0].map((moves) => ({
    inputs: { parameter: [33], firstMoment: [33], secondMoment: [33], step: [4], scalars: [4] },
    values: { step: [0.5, 2, 1, 0.1], scalars: [0.1, 0, 3, moves] },
    range: [0.1, 1] as const,
    attributes: { epsilon: 1e-3, decoupledDecay: 0.125 },
    expect: (p: number[], m: number[], v: number[]) =>
      moves === 0 ? p : p.map((x, i) => x * (1 - 0.5 * 0.125) - m[i] / (Math.sqrt(v[i]) + 1e-3)),
  })),
});
