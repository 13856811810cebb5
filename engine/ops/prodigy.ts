import { defineMultiOp, defineOp } from "../graph/op.ts";
import { adaptiveScalars, adaptiveStep } from "./dadapt_step.ts";
import { scalarKernel, updateKernel, updateType } from "./kernels/update.ts";
import { float } from "./kernels/wgsl.ts";

/** Prodigy's constants. */
export interface ProdigyAttributes {
  readonly beta1: number;
  readonly beta2: number;
  /** What the weighted sum keeps. */
  readonly beta3: number;
  /** d before the first step. */
  readonly firstDistance: number;
  /** Leaves the learning rate out of the weighted sum. */
  readonly safeguardWarmup: boolean;
}

/** Where Prodigy keeps the largest estimate so far, behind the scalars that all D-adaptive optimizers have. */
const largest = 4;

/**
 * Prodigy's running means; overwrites both moments, the weighted sum s of gradients and the parameters' values before the first update. `step` is what `dadaptStep` gives; its rate is d times the learning rate.
 *
 *     m ← β₁·m + (1 − β₁)·d·g     v ← β₂·v + (1 − β₂)·d²·g²     s ← β₃·s + d / d₀ · rate·g
 *
 * Nothing but the start changes at rate 0.
 *
 * @see Mishchenko and Defazio 2023, https://arxiv.org/abs/2306.06101
 */
export const prodigyMoments = defineMultiOp<
  readonly [
    "firstMoment",
    "secondMoment",
    "weightedSum",
    "start",
    "parameter",
    "gradient",
    "step",
  ],
  ProdigyAttributes
>({
  name: "prodigy_moments",
  inputs: [
    "firstMoment",
    "secondMoment",
    "weightedSum",
    "start",
    "parameter",
    "gradient",
    "step",
  ],
  overwrites: 4,
  type: ({ step: _step, ...elements }) => updateType(elements, 4),
  kernel: ({ inputs: { step, ...elements }, attributes, target }) => {
    const { beta1, beta2, beta3, firstDistance, safeguardWarmup } = attributes;
    return updateKernel(
      { target, elements, overwrites: 4, small: { step } },
      `
  if (step[${adaptiveStep.updates}] == 0.0) { start[i] = parameter[i]; }
  if (step[0] == 0.0) { return; }
  let d = step[${adaptiveStep.distance}];
  let g = gradient[i];
  firstMoment[i] = firstMoment[i] * ${float(beta1)} + g * (d * ${float(1 - beta1)});
  secondMoment[i] = secondMoment[i] * ${float(beta2)} + g * g * (d * d * ${float(1 - beta2)});
  weightedSum[i] = weightedSum[i] * ${float(beta3)} + g * (d / ${float(firstDistance)} * ${
        safeguardWarmup ? "d" : "step[0]"
      });`,
    );
  },
  samples: [[3, false], [0, true]].map(([updates, safeguardWarmup]) => ({
    inputs: {
      firstMoment: [33],
      secondMoment: [33],
      weightedSum: [33],
      start: [33],
      parameter: [33],
      gradient: [33],
      step: [4],
    },
    values: { step: [0.125, updates as number, 1, 0.5] },
    attributes: {
      beta1: 0.9,
      beta2: 0.99,
      beta3: 0.75,
      firstDistance: 0.25,
      safeguardWarmup: safeguardWarmup as boolean,
    },
    expect: (m: number[], v: number[], s: number[], start: number[], p: number[], g: number[]) => [
      m.map((x, i) => 0.9 * x + 0.1 * 0.5 * g[i]),
      v.map((x, i) => 0.99 * x + 0.01 * 0.25 * g[i] ** 2),
      s.map((x, i) => 0.75 * x + 2 * (safeguardWarmup ? 0.5 : 0.125) * g[i]),
      updates ? start : p,
    ],
  })),
});

/** What shapes Prodigy's estimate. */
export interface ProdigyEstimateAttributes {
  readonly beta3: number;
  readonly firstDistance: number;
  /** Factor of the estimate. */
  readonly coefficient: number;
  /** d grows by this factor a step at most; without it by any. */
  readonly growthRate?: number;
}

/**
 * Prodigy's estimate, in prodigyopt's order; overwrites its scalars `[5]`. `sum` is Σ g·(start − p), `norm` Σ |s|, both `[1]` over all parameters.
 *
 *     accumulated ← β₃·accumulated + d / d₀ · rate · sum      d̂ = coefficient · accumulated / norm
 *     d ← max(d, d̂) while it is d₀;  largest ← max(largest, d̂);  d ← min(largest, d · growthRate)
 *
 * Where `norm` is 0 nothing changes, and the step moves nothing.
 */
export const prodigyEstimate = defineOp<
  readonly ["scalars", "sum", "norm", "step"],
  ProdigyEstimateAttributes
>({
  name: "prodigy_estimate",
  inputs: ["scalars", "sum", "norm", "step"],
  overwrites: 1,
  type: ({ scalars }) => ({ shape: scalars.shape, dtype: "f32" }),
  kernel: ({ inputs, attributes: { beta3, firstDistance, coefficient, growthRate } }) => {
    const { distance, accumulated, updates, moves } = adaptiveScalars;
    const capped = growthRate === undefined ? "most" : `min(most, d * ${float(growthRate)})`;
    return scalarKernel(
      inputs,
      `
  if (norm[0] == 0.0) {
    scalars[${moves}] = 0.0;
    return;
  }
  var d = scalars[${distance}];
  let total = scalars[${accumulated}] * ${float(beta3)} + d / ${float(firstDistance)} * step[0] * sum[0];
  let found = ${float(coefficient)} * total / norm[0];
  if (d == ${float(firstDistance)}) { d = max(d, found); }
  let most = max(scalars[${largest}], found);
  scalars[${distance}] = ${capped};
  scalars[${accumulated}] = total;
  scalars[${updates}] += 1.0;
  scalars[${moves}] = 1.0;
  scalars[${largest}] = most;`,
    );
  },
  samples: [
    {
      inputs: { scalars: [5], sum: [1], norm: [1], step: [4] },
      values: { scalars: [0.5, 2, 7, 0, 1.5], sum: [3], norm: [4], step: [0.5, 7, 1, 0.5] },
      attributes: { beta3: 0.75, firstDistance: 0.25, coefficient: 2 },
      // 1.5 + 2·0.5·3 = 4.5; 2·4.5 / 4 = 2.25, the largest so far
      expect: () => [2.25, 4.5, 8, 1, 2.25],
    },
    {
      inputs: { scalars: [5], sum: [1], norm: [1], step: [4] },
      values: { scalars: [0.25, 2, 0, 0, 0.25], sum: [3], norm: [4], step: [0.5, 0, 1, 0.25] },
      attributes: { beta3: 0.75, firstDistance: 0.25, coefficient: 2, growthRate: 1.5 },
      // 1.5 + 0.5·3 = 3; 2·3 / 4 = 1.5; while d is the first one it may grow from the estimate, cut at the largest
      expect: () => [1.5, 3, 1, 1, 1.5],
    },
    {
      inputs: { scalars: [5], sum: [1], norm: [1], step: [4] },
      values: { scalars: [0.25, 2, 0, 1, 0.25], sum: [3], norm: [0], step: [0.5, 0, 1, 0.25] },
      attributes: { beta3: 0.75, firstDistance: 0.25, coefficient: 2 },
      expect: () => [0.25, 2, 0, 0, 0.25],
    },
  ],
});

/** Constants of Prodigy's move. */
export interface ProdigyMoveAttributes {
  readonly epsilon: number;
  /** Decay beside the gradient; 0 where it is part of the gradient. */
  readonly decoupledDecay: number;
}

/**
 * Prodigy's move, `p ← p − decay·rate·p − rate·m / (√v + d·ε)` with the new d and the rate of the moments; overwrites the parameter, if the estimate said that
 * this step moves.
 */
export const prodigyMove = defineOp<
  readonly ["parameter", "firstMoment", "secondMoment", "step", "scalars"],
  ProdigyMoveAttributes
>({
  name: "prodigy_move",
  inputs: ["parameter", "firstMoment", "secondMoment", "step", "scalars"],
  overwrites: 1,
  type: ({ step: _step, scalars: _scalars, ...elements }) => updateType(elements, 1)[0],
  kernel: ({ inputs: { step, scalars, ...elements }, attributes: { epsilon, decoupledDecay }, target }) =>
    updateKernel(
      { target, elements, overwrites: 1, small: { step, scalars } },
      `
  if (scalars[${adaptiveScalars.moves}] == 0.0) { return; }
  let divisor = sqrt(secondMoment[i]) + scalars[${adaptiveScalars.distance}] * ${float(epsilon)};
  parameter[i] = parameter[i] * (1.0 - step[0] * ${float(decoupledDecay)}) - step[0] * firstMoment[i] / divisor;`,
    ),
  samples: [{
    inputs: { parameter: [33], firstMoment: [33], secondMoment: [33], step: [4], scalars: [5] },
    values: { step: [0.5, 2, 1, 0.1], scalars: [0.25, 0, 3, 1, 0.25] },
    range: [0.1, 1],
    attributes: { epsilon: 0.5, decoupledDecay: 0.125 },
    expect: (p, m, v) => p.map((x, i) => x * (1 - 0.0625) - 0.5 * m[i] / (Math.sqrt(v[i]) + 0.125)),
  }],
});
