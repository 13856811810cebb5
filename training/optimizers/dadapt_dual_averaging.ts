import {
  adagradFirstSquares,
  add,
  dadaptDualAveraging,
  dadaptFirstNorm,
  dadaptStep,
  dadaptSums,
  reshape,
  scale,
  sqrt,
  square,
  sum,
} from "../../engine/mod.ts";
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
import { aboveZero, betaRange } from "./arguments.ts";
import { type OptimizerDefinition, scalarsOf } from "./optimizer.ts";

const names = ["weightedSum", "squares", "start"] as const;

/** dadaptation's DAdaptSGD. */
export const dadaptSgd: OptimizerDefinition = {
  name: "DAdaptSGD",
  oneRate: true,
  make: (read, weights) => {
    const { firstDistance, weightDecay, ...growth } = readAdaptive(read);
    const momentum = read.number("momentum", 0, betaRange);
    const { flat, scalars, initial } = adaptiveState(weights, names, firstScalars(firstDistance));
    const firstNorm = scalarsOf(weights, "first gradient norm", 1);
    return {
      state: { ...flat, scalars, firstNorm },
      initial,
      update: (update) =>
        traceAdaptive({
          flat,
          scalars,
          coupledDecay: weightDecay,
          stepOf: (step, { parts, halted }) => {
            const squares = parts.map((part) => sum(square(part.gradient()))).reduce((all, part) => add(all, part));
            const norm = dadaptFirstNorm(firstNorm.tensor, reshape(squares, [1]), step);
            return dadaptStep(scalars.tensor, parts[0].rate, halted, norm, {});
          },
          before: ({ gradient, state: { weightedSum } }) => dot(gradient, weightedSum),
          change: ({ parameter, gradient, state }, step) => {
            const changed = dadaptSums(state.weightedSum, state.squares, state.start, parameter, gradient, step);
            const [weightedSum, squares, start] = changed;
            return { state: { weightedSum, squares, start }, effects: changed };
          },
          after: ({ state: { weightedSum } }) => ({ norm: sum(square(weightedSum)) }),
          finishNorm: sqrt,
          estimate: estimateWith({ keep: 1, gain: 1, power: 1, accumulatedFactor: 2, weightedFactor: 0, ...growth }),
          move: ({ parameter, state: { start, weightedSum, squares } }, step, scalars) =>
            dadaptDualAveraging(parameter, start, weightedSum, squares, step, scalars, { momentum }),
        }, update),
    };
  },
};

/** dadaptation's DAdaptAdaGrad. Its `eps` has to be given: the package's own default, 0, is refused there. */
export const dadaptAdaGrad: OptimizerDefinition = {
  name: "DAdaptAdaGrad",
  oneRate: true,
  make: (read, weights) => {
    const { firstDistance, weightDecay, ...growth } = readAdaptive(read);
    const momentum = read.number("momentum", 0, betaRange);
    const epsilon = read.number("eps", 0, ["above 0, such as eps=1e-6", aboveZero[1]]);
    const { flat, scalars, initial } = adaptiveState(weights, names, firstScalars(firstDistance));
    return {
      state: { ...flat, scalars },
      initial,
      update: (update) =>
        traceAdaptive({
          flat,
          scalars,
          coupledDecay: weightDecay,
          change: ({ parameter, gradient, state }, step) => {
            const changed = dadaptSums(state.weightedSum, state.squares, state.start, parameter, gradient, step);
            const [weightedSum, squares, start] = changed;
            return { state: { weightedSum, squares, start }, effects: changed };
          },
          after: ({ gradient, state: { weightedSum, squares } }) => {
            const divisor = divisorOf(scale(squares, { factor: 1, offset: adagradFirstSquares }), epsilon);
            return {
              sum: weightedSquares(gradient, divisor),
              weighted: weightedSquares(weightedSum, divisor),
              norm: sumOfMagnitudes(weightedSum),
            };
          },
          estimate: estimateWith({ keep: 1, gain: 1, power: 2, accumulatedFactor: -1, weightedFactor: 1, ...growth }),
          move: ({ parameter, state: { start, weightedSum, squares } }, step, scalars) =>
            dadaptDualAveraging(parameter, start, weightedSum, squares, step, scalars, { momentum, epsilon }),
        }, update),
    };
  },
};
