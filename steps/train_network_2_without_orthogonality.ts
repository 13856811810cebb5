import { defineStep } from "../pipeline/mod.ts";
import { network2WithoutOrthogonality } from "./things.ts";
import { networkStore } from "./values/network.ts";
import { trainAlone, type TrainAloneOptions } from "./values/train_alone.ts";

/** Trains network 2 alone, as if there were no network 1: what the method is compared with. */
export function trainNetwork2WithoutOrthogonality(options: TrainAloneOptions) {
  const { definition, plan, train } = trainAlone("train network 2 without orthogonality", 2, options);
  return defineStep({
    ...definition,
    gives: { network2WithoutOrthogonality },
    plan: async (values, earlier) => {
      const found = await plan(values, earlier);
      return { ...found.plan, gives: { network2WithoutOrthogonality: found.planned } };
    },
    run: async (values, run) => ({ network2WithoutOrthogonality: await train(values, run) }),
    store: networkStore("network2WithoutOrthogonality"),
  });
}
