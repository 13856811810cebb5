import { dadaptAdamMoments, dadaptAdamMove, divide } from "../../engine/mod.ts";
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

const names = ["firstMoment", "secondMoment", "weightedSum"] as const;

/** dadaptation's DAdaptAdam: Adam with a learning rate that is found, not given; `--learning_rate` stays near 1. */
export const dadaptAdam: OptimizerDefinition = {
  name: "DAdaptAdam",
  oneRate: true,
  make: (read, weights) => make(read, weights, false),
};

/** dadaptation's first form of it, which sd-scripts calls DAdaptation as well. */
export const dadaptAdamPreprint: OptimizerDefinition = {
  name: "DAdaptAdamPreprint",
  oneRate: true,
  make: (read, weights) => make(read, weights, true),
};

function make(read: ArgumentReader, weights: TrainedWeights, isPreprint: boolean): Optimizer {
  const { firstDistance, weightDecay, ...growth } = readAdaptive(read);
  const [beta1, beta2] = read.numbers("betas", [0.9, 0.999], betaRange), epsilon = read.number("eps", 1e-8, aboveZero);
  const isDecoupled = read.boolean("decouple", false);
  const corrects = isPreprint ? false : read.boolean("use_bias_correction", false);
  const { flat, scalars, initial } = adaptiveState(weights, names, firstScalars(firstDistance));
  const keep = isPreprint ? beta2 : Math.sqrt(beta2), gain = 1 - keep;
  const estimate = isPreprint
    ? estimateWith({ keep, gain, power: 2, accumulatedFactor: -1, weightedFactor: 1 / gain, ...growth })
    : estimateWith({ keep, gain, power: 1, accumulatedFactor: 1 / gain, weightedFactor: 0, ...growth });
  return {
    state: { ...flat, scalars },
    initial,
    update: (update) =>
      traceAdaptive({
        flat,
        scalars,
        coupledDecay: isDecoupled ? 0 : weightDecay,
        ...(corrects ? { biasCorrection: [beta1, beta2] as const } : {}),
        ...(isPreprint ? {} : {
          before: ({ gradient, state: { weightedSum, secondMoment } }) =>
            dot(gradient, divide(weightedSum, divisorOf(secondMoment, epsilon))),
        }),
        change: ({ gradient, state }, step) => {
          const changed = dadaptAdamMoments(
            state.firstMoment,
            state.secondMoment,
            state.weightedSum,
            gradient,
            step,
            { beta1, beta2, keep },
          );
          const [firstMoment, secondMoment, weightedSum] = changed;
          return { state: { firstMoment, secondMoment, weightedSum }, effects: changed };
        },
        after: ({ gradient, state: { weightedSum, secondMoment } }) => {
          const norm = sumOfMagnitudes(weightedSum);
          if (!isPreprint) return { norm };
          const divisor = divisorOf(secondMoment, epsilon);
          return { sum: weightedSquares(gradient, divisor), weighted: weightedSquares(weightedSum, divisor), norm };
        },
        estimate,
        move: ({ parameter, state: { firstMoment, secondMoment } }, step, scalars) =>
          dadaptAdamMove(parameter, firstMoment, secondMoment, step, scalars, {
            epsilon,
            decoupledDecay: isDecoupled ? weightDecay : 0,
          }),
      }, update),
  };
}
