import { type NullSpaceSide, nullSpaceSides, projectToNullSpace } from "../lora/null_space.ts";
import { defineStep, replacing } from "../pipeline/mod.ts";
import { bases, network1, network2 } from "./things.ts";
import { checkOptions } from "./values/check_options.ts";
import { buildNetwork, networkStore } from "./values/network.ts";

/** Options of `projectNetwork2`. */
export interface ProjectNetwork2Options {
  /** `rows`: what network 2 reads leaves out what network 1 reads; `columns`: the same for what they write. */
  readonly side: NullSpaceSide;
}

/** Takes out of a trained network 2 what lies in network 1's space, module by module; nothing is trained. See `projectToNullSpace`. */
export function projectNetwork2(options: ProjectNetwork2Options) {
  const name = "project network 2";
  checkOptions<ProjectNetwork2Options>(name, options, { side: true });
  const { side } = options;
  if (!nullSpaceSides.includes(side)) {
    throw new RangeError(
      `Cannot project network 2: side is ${JSON.stringify(side)}, must be ${nullSpaceSides.join(" or ")}`,
    );
  }
  return defineStep({
    name,
    version: 1,
    options,
    needs: { bases, network1, network2 },
    gives: { network2: replacing(network2) },
    plan: ({ network2 }) => ({ gives: { network2 } }),
    run: ({ bases, network1, network2 }) => {
      const one = buildNetwork("network 1", bases.network1, network1.options);
      const two = buildNetwork("network 2", bases.network2, network2.options);
      const weights = projectToNullSpace(two, network2.weights, one, network1.weights, side);
      return { network2: { ...network2, weights, settings: { ...network2.settings, projected: side } } };
    },
    store: networkStore("network2"),
  });
}
