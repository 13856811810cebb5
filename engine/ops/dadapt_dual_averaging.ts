import { defineMultiOp, defineOp } from "../graph/op.ts";
import { adaptiveScalars, adaptiveStep } from "./dadapt_step.ts";
import { scalarKernel, updateKernel, updateType } from "./kernels/update.ts";
import { float } from "./kernels/wgsl.ts";

/**
 * The sums of D-adaptive SGD and AdaGrad: `s ← s + rate·g`, `squares ← squares + g²`, and the parameters' values before the first update; overwrites these
 * three. `step` is what `dadaptStep` gives; its rate is d times the learning rate.
 *
 * @see Defazio and Mishchenko 2023, https://arxiv.org/abs/2301.07733
 */
export const dadaptSums = defineMultiOp({
  name: "dadapt_sums",
  inputs: ["weightedSum", "squares", "start", "parameter", "gradient", "step"],
  overwrites: 3,
  type: ({ step: _step, ...elements }) => updateType(elements, 3),
  kernel: ({ inputs: { step, ...elements }, target }) =>
    updateKernel(
      { target, elements, overwrites: 3, small: { step } },
      `
  let g = gradient[i];
  weightedSum[i] += g * step[0];
  squares[i] += g * g;
  if (step[${adaptiveStep.updates}] == 0.0) { start[i] = parameter[i]; }`,
    ),
  samples: [0, 3].map((updates) => ({
    inputs: {
      weightedSum: [33],
      squares: [33],
      start: [33],
      parameter: [33],
      gradient: [33],
      step: [4],
    },
    values: { step: [0.5, updates, 1, 0.1] },
    expect: (s: number[], squares: number[], start: number[], p: number[], g: number[]) => [
      s.map((x, i) => x + 0.5 * g[i]),
      squares.map((x, i) => x + g[i] ** 2),
      updates ? start : p,
    ],
  })),
});

/** The norm of the first gradient, which D-adaptive SGD divides its rate by: overwrites `norm` `[1]` before the first update alone, by √`squares` `[1]`. */
export const dadaptFirstNorm = defineOp({
  name: "dadapt_first_norm",
  inputs: ["norm", "squares", "step"],
  overwrites: 1,
  type: ({ norm }) => ({ shape: norm.shape, dtype: "f32" }),
  kernel: ({ inputs }) =>
    scalarKernel(inputs, `if (step[${adaptiveStep.updates}] == 0.0) { norm[0] = sqrt(squares[0]); }`),
  samples: [0, 3].map((updates) => ({
    inputs: { norm: [1], squares: [1], step: [4] },
    values: { squares: [9], step: [0.5, updates, 1, 0.1] },
    expect: ([norm]: number[]) => [updates ? norm : 3],
  })),
});

/** Constants of a move by dual averaging. */
export interface DualAveragingAttributes {
  /** What the parameter keeps of itself; 0 puts it where the average is. */
  readonly momentum: number;
  /** Divides the sum by `√(1e-6 + squares) + ε`, as AdaGrad does; without it the sum counts as it is. */
  readonly epsilon?: number;
}

/** What AdaGrad's sum of squares begins at; the variable holds the rest. */
export const adagradFirstSquares = 1e-6;

/**
 * The move of D-adaptive SGD and AdaGrad: `p ← momentum·p + (1 − momentum)·(start − s / divisor)`; overwrites the parameter, if the estimate said that this
 * step moves.
 */
export const dadaptDualAveraging = defineOp<
  readonly ["parameter", "start", "weightedSum", "squares", "step", "scalars"],
  DualAveragingAttributes
>({
  name: "dadapt_dual_averaging",
  inputs: ["parameter", "start", "weightedSum", "squares", "step", "scalars"],
  overwrites: 1,
  type: ({ step: _step, scalars: _scalars, ...elements }) => updateType(elements, 1)[0],
  kernel: ({ inputs: { step, scalars, ...elements }, attributes: { momentum, epsilon }, target }) =>
    updateKernel(
      { target, elements, overwrites: 1, small: { step, scalars } },
      `
  if (scalars[${adaptiveScalars.moves}] == 0.0) { return; }
  let average = start[i] - weightedSum[i]${
        epsilon === undefined ? "" : ` / (sqrt(squares[i] + ${float(adagradFirstSquares)}) + ${float(epsilon)})`
      };
  parameter[i] = parameter[i] * ${float(momentum)} + average * ${float(1 - momentum)};`,
    ),
  samples: [undefined, 1e-3].map((epsilon) => ({
    inputs: { parameter: [33], start: [33], weightedSum: [33], squares: [33], step: [4], scalars: [4] },
    values: { step: [0.5, 2, 1, 0.1], scalars: [0.1, 0, 3, 1] },
    range: [0.1, 1] as const,
    attributes: { momentum: 0.75, ...(epsilon === undefined ? {} : { epsilon }) },
    expect: (p: number[], start: number[], s: number[], squares: number[]) =>
      p.map((x, i) => {
        const divisor = epsilon === undefined ? 1 : Math.sqrt(squares[i] + 1e-6) + epsilon;
        return 0.75 * x + 0.25 * (start[i] - s[i] / divisor);
      }),
  })),
});
