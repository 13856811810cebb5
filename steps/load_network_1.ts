import { defineStep } from "../pipeline/mod.ts";
import { bases, network1 } from "./things.ts";
import { checkOptions } from "./values/check_options.ts";
import { buildNetwork, networkStore } from "./values/network.ts";
import { hashStarts, resolveStart, startingWeights } from "./values/network_start.ts";

/** Options of `loadNetwork1`. */
export interface LoadNetwork1Options {
  /** A LoRA file in kohya's format; all its modules count, with its ranks and alphas (`--network_weights`). */
  readonly weights: string;
}

/** Takes network 1 from a LoRA file, to be frozen or trained on: in the place of `pretrainNetwork1`. */
export function loadNetwork1(options: LoadNetwork1Options) {
  const name = "load network 1";
  checkOptions<LoadNetwork1Options>(name, options, { weights: true });
  if (typeof options.weights !== "string") {
    throw new TypeError(`Cannot load network 1: weights is ${JSON.stringify(options.weights)}, must be a file's name`);
  }
  // The file decides all ranks; this one is no module's.
  const start = { weights: options.weights, ranksFromWeights: true, rank: 1 };
  return defineStep({
    name,
    version: 1,
    options,
    needs: { bases },
    gives: { network1 },
    fingerprint: () => hashStarts(start),
    plan: async ({ bases }) => {
      const { options: built } = await resolveStart(start);
      const { modules, parameterCount } = buildNetwork("network 1", bases.network1, built);
      return {
        figures: { modules: modules.length, parameters: parameterCount },
        gives: { network1: { options: built } },
      };
    },
    run: async ({ bases }, run) => {
      const resolved = await resolveStart(start), lora = buildNetwork("network 1", bases.network1, resolved.options);
      const warn = (message: string) => run.warn(message);
      const weights = await startingWeights(lora, resolved, { seed: 0, stream: 1, warn });
      return { network1: { options: resolved.options, weights, log: [], settings: { weights: options.weights } } };
    },
    store: networkStore("network1"),
  });
}
