import { sgdStep } from "../../engine/mod.ts";
import { fromZero } from "./arguments.ts";
import { type OptimizerDefinition, partOf, stateOf } from "./optimizer.ts";

/** PyTorch's SGD with Nesterov's momentum; 0.9 by default, as in sd-scripts. */
export const sgdNesterov: OptimizerDefinition = {
  name: "SGDNesterov",
  make: (read, weights) => {
    const constants = {
      momentum: read.number("momentum", 0.9, ["above 0 for Nesterov's momentum", (value) => value > 0]),
      weightDecay: read.number("weight_decay", 0, fromZero),
    };
    read.only("dampening", 0);
    read.only("maximize", false);
    read.noEffect("foreach", "differentiable");
    const momentum = stateOf(weights, "momentum");
    return {
      state: { momentum },
      initial: new Map(),
      update: ({ weights, parts, halted }) => ({
        effects: parts.map((part) =>
          sgdStep(
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
