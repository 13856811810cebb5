import { adamwStep, advanceClock } from "../../engine/mod.ts";
import { betaRange, fromZero } from "./arguments.ts";
import { type OptimizerDefinition, partOf, scalarsOf, stateOf } from "./optimizer.ts";

/** PyTorch's AdamW: decoupled weight decay, 0.01 by default. */
export const adamw: OptimizerDefinition = {
  name: "AdamW",
  make: (read, weights) => {
    const [beta1, beta2] = read.numbers("betas", [0.9, 0.999], betaRange);
    const constants = {
      beta1,
      beta2,
      epsilon: read.number("eps", 1e-8, fromZero),
      weightDecay: read.number("weight_decay", 0.01, fromZero),
    };
    read.only("amsgrad", false);
    read.only("maximize", false);
    read.noEffect("foreach", "capturable", "differentiable", "fused");
    const first = stateOf(weights, "first moment"), second = stateOf(weights, "second moment");
    const clock = scalarsOf(weights, "clock", 1);
    return {
      state: { firstMoment: first, secondMoment: second, clock },
      initial: new Map(),
      update: ({ weights, parts, halted }) => {
        const now = advanceClock(clock.tensor, halted);
        const effects = parts.map((part) =>
          adamwStep(
            partOf(weights, part),
            partOf(first.tensor, part),
            partOf(second.tensor, part),
            part.gradient(),
            halted,
            part.rate,
            now,
            constants,
          )[0]
        );
        return { effects, figures: {} };
      },
    };
  },
};
