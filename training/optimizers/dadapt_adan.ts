import { dadaptAdanMoments, dadaptAdanMove, divide } from "../../engine/mod.ts";
import {
  adaptiveState,
  divisorOf,
  dot,
  estimateWith,
  firstScalars,
  readAdaptive,
  sumOfMagnitudes,
  traceAdaptive,
  weightedSquares,
} from "./adaptive.ts";
import { aboveZero, type ArgumentReader, betaRange } from "./arguments.ts";
import type { Optimizer, OptimizerDefinition, TrainedWeights } from "./optimizer.ts";

const names = ["firstMoment", "differenceMoment", "secondMoment", "weightedSum", "previous"] as const;

/** dadaptation's DAdaptAdan. */
export const dadaptAdan: OptimizerDefinition = {
  name: "DAdaptAdan",
  oneRate: true,
  make: (read, weights) => make(read, weights, false),
};

/** dadaptation's DAdaptAdanIP, whose estimate is an inner product. */
export const dadaptAdanIp: OptimizerDefinition = {
  name: "DAdaptAdanIP",
  oneRate: true,
  make: (read, weights) => make(read, weights, true),
};

function make(read: ArgumentReader, weights: TrainedWeights, isInnerProduct: boolean): Optimizer {
  const { firstDistance, weightDecay, ...growth } = readAdaptive(read, { decay: 0.02 });
  const [beta1, beta2, beta3] = read.numbers("betas", [0.98, 0.92, 0.99], betaRange);
  const epsilon = read.number("eps", 1e-8, aboveZero), decayFirst = read.boolean("no_prox", false);
  const { flat, scalars, initial } = adaptiveState(weights, names, firstScalars(firstDistance));
  const keep = beta3, gain = 1 - beta3;
  const estimate = isInnerProduct
    ? estimateWith({ keep, gain, power: 1, accumulatedFactor: 2 * beta3 / gain, weightedFactor: 0, ...growth })
    : estimateWith({ keep, gain, power: 2, accumulatedFactor: -1, weightedFactor: 1 / gain, ...growth });
  return {
    state: { ...flat, scalars },
    initial,
    update: (update) =>
      traceAdaptive({
        flat,
        scalars,
        coupledDecay: 0,
        ...(isInnerProduct
          ? {
            before: ({ gradient, state: { weightedSum, secondMoment } }) =>
              dot(gradient, divide(weightedSum, divisorOf(secondMoment, epsilon))),
          }
          : {}),
        change: ({ gradient, state }, step) => {
          const changed = dadaptAdanMoments(
            state.firstMoment,
            state.differenceMoment,
            state.secondMoment,
            state.weightedSum,
            state.previous,
            gradient,
            step,
            { beta1, beta2, beta3 },
          );
          const [firstMoment, differenceMoment, secondMoment, weightedSum] = changed;
          return { state: { firstMoment, differenceMoment, secondMoment, weightedSum }, effects: changed };
        },
        after: ({ gradient, state: { weightedSum, secondMoment } }) => {
          const norm = sumOfMagnitudes(weightedSum);
          if (isInnerProduct) return { norm };
          const divisor = divisorOf(secondMoment, epsilon);
          return { sum: weightedSquares(gradient, divisor), weighted: weightedSquares(weightedSum, divisor), norm };
        },
        estimate,
        move: ({ parameter, state: { firstMoment, differenceMoment, secondMoment } }, step, scalars) =>
          dadaptAdanMove(parameter, firstMoment, differenceMoment, secondMoment, step, scalars, {
            beta2,
            epsilon,
            weightDecay,
            decayFirst,
          }),
      }, update),
  };
}
