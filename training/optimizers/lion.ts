import { lionStep } from "../../engine/mod.ts";
import { betaRange, fromZero } from "./arguments.ts";
import { type OptimizerDefinition, partOf, stateOf } from "./optimizer.ts";

/** lion-pytorch's Lion. */
export const lion: OptimizerDefinition = {
  name: "Lion",
  make: (read, weights) => {
    const [beta1, beta2] = read.numbers("betas", [0.9, 0.99], betaRange);
    const constants = { beta1, beta2, weightDecay: read.number("weight_decay", 0, fromZero) };
    read.noEffect("use_triton");
    const momentum = stateOf(weights, "momentum");
    return {
      state: { momentum },
      initial: new Map(),
      update: ({ weights, parts, halted }) => ({
        effects: parts.map((part) =>
          lionStep(
            partOf(weights, part),
            partOf(momentum.tensor, part),
            part.gradient(),
            halted,
            part.rate,
            constants,
          )[0]
        ),
        figures: {},
      }),
    };
  },
};
