import { add, dadaptLionStep, scale, sign } from "../../engine/mod.ts";
import {
  adaptiveState,
  dot,
  estimateWith,
  firstScalars,
  readAdaptive,
  sumOfMagnitudes,
  traceAdaptive,
} from "./adaptive.ts";
import { betaRange } from "./arguments.ts";
import type { OptimizerDefinition } from "./optimizer.ts";

/** dadaptation's DAdaptLion. */
export const dadaptLion: OptimizerDefinition = {
  name: "DAdaptLion",
  oneRate: true,
  make: (read, weights) => {
    const { firstDistance, weightDecay } = readAdaptive(read, { grows: false });
    const [beta1, beta2] = read.numbers("betas", [0.9, 0.99], betaRange);
    const { flat, scalars, initial } = adaptiveState(
      weights,
      ["momentum", "weightedSum"],
      firstScalars(firstDistance),
    );
    const keep = Math.sqrt(beta2), gain = 1 - keep;
    return {
      state: { ...flat, scalars },
      initial,
      update: (update) =>
        traceAdaptive({
          flat,
          scalars,
          coupledDecay: 0,
          before: ({ gradient, state: { momentum, weightedSum } }) => {
            const mixed = add(scale(momentum, { factor: beta1 }), scale(gradient, { factor: 1 - beta1 }));
            return dot(sign(mixed), weightedSum);
          },
          change: ({ parameter, gradient, state }, step) => {
            const changed = dadaptLionStep(parameter, state.momentum, state.weightedSum, gradient, step, {
              beta1,
              beta2,
              weightDecay,
            });
            return { state: { momentum: changed[1], weightedSum: changed[2] }, effects: changed };
          },
          after: ({ state: { weightedSum } }) => ({ norm: sumOfMagnitudes(weightedSum) }),
          estimate: estimateWith({ keep, gain, power: 1, accumulatedFactor: 1 / gain, weightedFactor: 0 }),
        }, update),
    };
  },
};
