import { defineMultiOp } from "../graph/op.ts";
import type { LionAttributes } from "./lion_step.ts";
import { updateKernel, updateType } from "./kernels/update.ts";
import { float } from "./kernels/wgsl.ts";

/**
 * One step of D-adaptive Lion with the d of the step before; overwrites parameter, momentum and the weighted sum s of directions. `step` is what `dadaptStep` gives; its rate is d times the learning rate.
 *
 *     u = sign(β₁·m + (1 − β₁)·g)     p ← p·(1 − rate·decay) − rate·u
 *     m ← β₂·m + (1 − β₂)·rate·g      s ← √β₂·s + (1 − √β₂)·rate·u
 *
 * @see Defazio and Mishchenko 2023, https://arxiv.org/abs/2301.07733, and dadaptation 3.1
 */
export const dadaptLionStep = defineMultiOp<
  readonly ["parameter", "momentum", "weightedSum", "gradient", "step"],
  LionAttributes
>({
  name: "dadapt_lion_step",
  inputs: ["parameter", "momentum", "weightedSum", "gradient", "step"],
  overwrites: 3,
  type: ({ step: _step, ...elements }) => updateType(elements, 3),
  kernel: ({ inputs: { step, ...elements }, attributes: { beta1, beta2, weightDecay }, target }) =>
    updateKernel(
      { target, elements, overwrites: 3, small: { step } },
      `
  let g = gradient[i];
  let m = momentum[i];
  let direction = sign(m * ${float(beta1)} + g * ${float(1 - beta1)});
  parameter[i] = parameter[i] * (1.0 - step[0] * ${float(weightDecay)}) - step[0] * direction;
  momentum[i] = m * ${float(beta2)} + g * (step[0] * ${float(1 - beta2)});
  weightedSum[i] = weightedSum[i] * ${float(Math.sqrt(beta2))} + direction * (step[0] * ${
        float(1 - Math.sqrt(beta2))
      });`,
    ),
  samples: [{
    inputs: { parameter: [33], momentum: [33], weightedSum: [33], gradient: [33], step: [4] },
    values: { step: [0.5, 3, 1, 0.1] },
    attributes: { beta1: 0.9, beta2: 0.81, weightDecay: 0.125 },
    expect: (p, m, s, g) => {
      const u = m.map((x, i) => Math.sign(0.9 * x + 0.1 * g[i]));
      return [
        p.map((x, i) => x * (1 - 0.0625) - 0.5 * u[i]),
        m.map((x, i) => 0.81 * x + 0.19 * 0.5 * g[i]),
        s.map((x, i) => 0.9 * x + 0.1 * 0.5 * u[i]),
      ];
    },
  }],
});
