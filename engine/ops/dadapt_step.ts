import { defineOp } from "../graph/op.ts";
import { haltedType, logBase, oneMinusPower } from "./kernels/update.ts";
import { binding } from "./kernels/wgsl.ts";

/** The scalars that D-adaptive optimizers keep between steps, by their places in a variable `[4]`. */
export const adaptiveScalars = {
  /** d: the estimated distance to the solution, which scales the learning rate. */
  distance: 0,
  /** The running numerator of the estimate, or the part that is taken from it. */
  accumulated: 1,
  /** Updates made. */
  updates: 2,
  /** 1 when this step moves the parameters, 0 when there is no progress to judge by. */
  moves: 3,
} as const;

/** What the ops of a D-adaptive step read, by places in what `dadaptStep` gives. */
export const adaptiveStep = {
  /** d times the learning rate, and the bias correction if there is one. */
  rate: 0,
  /** Updates made before this one. */
  updates: 1,
  /** 0 when the step is halted, and nothing may change; else 1. */
  finite: 2,
  /** d before this step. */
  distance: 3,
} as const;

/** Betas of Adam's bias correction; without them there is none. */
export interface DadaptStepAttributes {
  readonly biasCorrection?: readonly [beta1: number, beta2: number];
}

/**
 * The numbers of a D-adaptive step before d changes, by `adaptiveStep`: `rate` is `d · learning rate`, with bias correction times
 * `√(1 − β₂ᵗ) / (1 − β₁ᵗ)`, t the number of this update, from 1. Where `divisor` `[1]` is given, the rate is divided by it, and 0 where it is 0.
 *
 * @returns `[4]`
 */
export const dadaptStep = defineOp<readonly ["scalars", "rate", "halted", "divisor?"], DadaptStepAttributes>({
  name: "dadapt_step",
  inputs: ["scalars", "rate", "halted", "divisor?"],
  type: () => ({ shape: [4], dtype: "f32" }),
  kernel: ({ inputs: { divisor }, attributes: { biasCorrection } }) => {
    const bias = biasCorrection
      ? ` * sqrt(oneMinusPower(t, ${logBase(biasCorrection[1])})) / oneMinusPower(t, ${logBase(biasCorrection[0])})`
      : "";
    return {
      workgroups: [1, 1, 1],
      wgsl: `${binding(0, "scalars", "f32", "read")}
${binding(1, "rate", "f32", "read")}
${binding(2, "halted", "u32", "read")}
${divisor ? binding(3, "divisor", "f32", "read") : ""}
${binding(divisor ? 4 : 3, "result", "f32", "read_write")}
${oneMinusPower}
@compute @workgroup_size(1)
fn main() {
  let t = scalars[${adaptiveScalars.updates}] + 1.0;
  let own = scalars[${adaptiveScalars.distance}] * rate[0]${bias};
  result[${adaptiveStep.rate}] = ${divisor ? "select(own / divisor[0], 0.0, divisor[0] == 0.0)" : "own"};
  result[${adaptiveStep.updates}] = t - 1.0;
  result[${adaptiveStep.finite}] = select(0.0, 1.0, halted[0] == 0u);
  result[${adaptiveStep.distance}] = scalars[${adaptiveScalars.distance}];
}
`,
    };
  },
  samples: [
    {
      inputs: { scalars: [4], rate: [1], halted: haltedType },
      values: { halted: [0] },
      attributes: {},
      expect: ([d, , updates], [rate]) => [d * rate, updates, 1, d],
    },
    {
      inputs: { scalars: [4], rate: [1], halted: haltedType },
      values: { scalars: [1e-3, 0, 6, 1], halted: [0] },
      attributes: { biasCorrection: [0.9, 0.99] as const },
      expect: ([d], [rate]) => [d * rate * Math.sqrt(1 - 0.99 ** 7) / (1 - 0.9 ** 7), 6, 1, d],
    },
    ...[4, 0].map((divisor) => ({
      inputs: { scalars: [4], rate: [1], halted: haltedType, divisor: [1] },
      values: { halted: [1], divisor: [divisor] },
      attributes: {},
      expect: ([d, , updates]: number[], [rate]: number[]) => [divisor ? d * rate / 4 : 0, updates, 0, d],
    })),
  ],
});
