import { defineStep } from "../pipeline/mod.ts";
import { bases, data, latents, network1 } from "./things.ts";
import { networkOptionNames, type NetworkOptions, networkOptions, networkStore } from "./values/network.ts";
import { planTraining, trainNetworks } from "./values/network_training.ts";
import { checkOptions } from "./values/check_options.ts";
import { checkTraining, trainingOptionNames, type TrainingOptions } from "./values/training_loop.ts";

/** Options of `pretrainNetwork1`. */
export interface PretrainOptions extends TrainingOptions, NetworkOptions {}

/** Trains network 1 alone on its own data: the recommended beginning, before it is frozen and network 2 learns against it. */
export function pretrainNetwork1(options: PretrainOptions) {
  const name = "pretrain network 1";
  checkOptions<PretrainOptions>(name, options, { ...trainingOptionNames, ...networkOptionNames });
  checkTraining(options);
  const built = networkOptions(options);
  return defineStep({
    name,
    version: 1,
    options,
    needs: { bases, data, latents },
    gives: { network1 },
    plan: ({ bases, data }) => ({
      ...planTraining(bases, data, [1], [built], options, {}, false),
      gives: { network1: { options: built } },
    }),
    run: async ({ bases, data, latents }, run) => {
      const [network1] = await trainNetworks(bases, data, latents, [1], [{ options: built }], options, {}, false, run);
      return { network1 };
    },
    store: networkStore("network1"),
  });
}
