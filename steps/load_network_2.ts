import { defineStep } from "../pipeline/mod.ts";
import { bases, network2 } from "./things.ts";
import { checkOptions } from "./values/check_options.ts";
import { buildNetwork, networkStore } from "./values/network.ts";
import { hashStarts, resolveStart, startingWeights } from "./values/network_start.ts";

/** Options of `loadNetwork2`. */
export interface LoadNetwork2Options {
  /** A LoRA file in kohya's format; all its modules count, with its ranks and alphas. */
  readonly weights: string;
}

/** Takes network 2 from a LoRA file, to be stacked, projected or measured: in the place of a step that trains it. */
export function loadNetwork2(options: LoadNetwork2Options) {
  const name = "load network 2";
  checkOptions<LoadNetwork2Options>(name, options, { weights: true });
  const { weights } = options;
  if (typeof weights !== "string") {
    throw new TypeError(`Cannot load network 2: weights is ${JSON.stringify(weights)}, must be a file's name`);
  }
  // The file decides all ranks; this one is no module's.
  const start = { weights, ranksFromWeights: true, rank: 1 };
  return defineStep({
    name,
    version: 1,
    options,
    needs: { bases },
    gives: { network2 },
    fingerprint: () => hashStarts(start),
    plan: async () => ({ gives: { network2: { options: (await resolveStart(start, 2)).options } } }),
    run: async ({ bases }, run) => {
      const resolved = await resolveStart(start, 2), lora = buildNetwork("network 2", bases.network2, resolved.options);
      const warn = (message: string) => run.warn(message);
      const values = await startingWeights(lora, resolved, { seed: 0, stream: 2, warn });
      return { network2: { options: resolved.options, weights: values, log: [], settings: { weights } } };
    },
    store: networkStore("network2"),
  });
}
