import { prodigyEstimate, prodigyMoments, prodigyMove, subtract } from "../../engine/mod.ts";
import { adaptiveState, dot, firstScalars, readAdaptive, sumOfMagnitudes, traceAdaptive } from "./adaptive.ts";
import { aboveZero, betaRange } from "./arguments.ts";
import type { OptimizerDefinition } from "./optimizer.ts";

/** prodigyopt's Prodigy. */
export const prodigy: OptimizerDefinition = {
  name: "Prodigy",
  oneRate: true,
  make: (read, weights) => {
    const { firstDistance, weightDecay, ...growth } = readAdaptive(read);
    const [beta1, beta2] = read.numbers("betas", [0.9, 0.999], betaRange),
      epsilon = read.number("eps", 1e-8, aboveZero);
    const beta3 = read.number("beta3", null, betaRange) ?? Math.sqrt(beta2);
    const isDecoupled = read.boolean("decouple", true), corrects = read.boolean("use_bias_correction", false);
    const safeguardWarmup = read.boolean("safeguard_warmup", false);
    const coefficient = read.number("d_coef", 1, aboveZero);
    const { flat, scalars, initial } = adaptiveState(
      weights,
      ["firstMoment", "secondMoment", "weightedSum", "start"],
      [...firstScalars(firstDistance), firstDistance],
    );
    return {
      state: { ...flat, scalars },
      initial,
      update: (update) =>
        traceAdaptive({
          flat,
          scalars,
          coupledDecay: isDecoupled ? 0 : weightDecay,
          ...(corrects ? { biasCorrection: [beta1, beta2] as const } : {}),
          change: ({ parameter, gradient, state }, step) => {
            const changed = prodigyMoments(
              state.firstMoment,
              state.secondMoment,
              state.weightedSum,
              state.start,
              parameter,
              gradient,
              step,
              { beta1, beta2, beta3, firstDistance, safeguardWarmup },
            );
            const [firstMoment, secondMoment, weightedSum, start] = changed;
            return { state: { firstMoment, secondMoment, weightedSum, start }, effects: changed };
          },
          after: ({ parameter, gradient, state: { start, weightedSum } }) => ({
            sum: dot(gradient, subtract(start, parameter)),
            norm: sumOfMagnitudes(weightedSum),
          }),
          estimate: (scalars, { sum, norm }, step) =>
            prodigyEstimate(scalars, sum, norm, step, { beta3, firstDistance, coefficient, ...growth }),
          move: ({ parameter, state: { firstMoment, secondMoment } }, step, scalars) =>
            prodigyMove(parameter, firstMoment, secondMoment, step, scalars, {
              epsilon,
              decoupledDecay: isDecoupled ? weightDecay : 0,
            }),
        }, update),
    };
  },
};
