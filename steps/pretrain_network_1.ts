import { defineStep } from "../pipeline/mod.ts";
import { network1 } from "./things.ts";
import { networkStore } from "./values/network.ts";
import { trainAlone, type TrainAloneOptions } from "./values/train_alone.ts";

/** Trains network 1 alone on its own data: the recommended beginning, before it is frozen and network 2 learns against it. */
export function pretrainNetwork1(options: TrainAloneOptions) {
  const { definition, plan, train } = trainAlone("pretrain network 1", 1, options);
  return defineStep({
    ...definition,
    gives: { network1 },
    plan: async (values, earlier) => {
      const found = await plan(values, earlier);
      return { ...found.plan, gives: { network1: found.planned } };
    },
    run: async (values, run) => ({ network1: await train(values, run) }),
    store: networkStore("network1"),
  });
}
