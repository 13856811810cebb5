import { defineStep, type EarlierStart } from "../pipeline/mod.ts";
import { startingHash } from "./outputs/resumed_state.ts";
import { readState, readStateFacts, StateError } from "./outputs/state_folder.ts";
import type { StateFacts } from "./outputs/state_facts.ts";
import { bases, network1 } from "./things.ts";
import { checkOptions } from "./values/check_options.ts";
import { buildNetwork, type Network, networkStore } from "./values/network.ts";
import { checkStart, hashStarts, resolveStart, startingWeights } from "./values/network_start.ts";

/** Options of `loadNetwork1`: either of them. */
export interface LoadNetwork1Options {
  /** A LoRA file in kohya's format; all its modules count, with its ranks and alphas (`--network_weights`). */
  readonly weights?: string;
  /** Folder of a state that holds it, so that it is not trained once more where a training goes on (`--resume`). */
  readonly state?: string;
}

/** Takes network 1 from a LoRA file or a state, to be frozen or trained on: in the place of `pretrainNetwork1`. */
export function loadNetwork1(options: LoadNetwork1Options) {
  const name = "load network 1";
  checkOptions<LoadNetwork1Options>(name, options, { weights: true, state: true });
  const { weights, state } = options, named = weights ?? state;
  if (typeof named !== "string" || (weights !== undefined && state !== undefined)) {
    throw new TypeError(
      `Cannot load network 1: weights is ${JSON.stringify(weights)}, state is ${
        JSON.stringify(state)
      }, must be one of ` +
        "them, a file's or a folder's name",
    );
  }
  const source = weights === undefined ? stateSource(named) : fileSource(weights);
  return defineStep({
    name,
    version: 1,
    options,
    needs: { bases },
    gives: { network1 },
    fingerprint: (_signal, _folder, earlier) => source.fingerprint(earlier),
    plan: async ({ bases }, earlier) => {
      const built = await source.options(earlier), lora = buildNetwork("network 1", bases.network1, built);
      await checkStart(lora, weights);
      return {
        figures: { modules: lora.modules.length, parameters: lora.parameterCount },
        gives: { network1: { options: built } },
      };
    },
    run: async ({ bases }, run) => {
      const network = await source.load(),
        { options } = network,
        lora = buildNetwork("network 1", bases.network1, options);
      const warn = (message: string) => run.warn(message), start = weights === undefined ? { network } : { weights };
      const found = await startingWeights(lora, { options, ...start }, { seed: 0, stream: 1, warn });
      return { network1: { ...network, weights: found } };
    },
    store: networkStore("network1"),
  });
}

/** Where network 1 comes from. */
interface Source {
  fingerprint(earlier: EarlierStart | undefined): Promise<unknown[]>;
  options(earlier: EarlierStart | undefined): Promise<Network["options"]>;
  /** What is known of it; weights that come from a LoRA file are not there yet. */
  load(): Promise<Network>;
}

function fileSource(weights: string): Source {
  // The file decides all ranks; this one is no module's.
  const start = { weights, ranksFromWeights: true, rank: 1 };
  const options = async () => (await resolveStart(start, 1)).options;
  return {
    fingerprint: () => hashStarts(start),
    options,
    load: async () => ({ options: await options(), weights: new Float32Array(), log: [], settings: { weights } }),
  };
}

function stateSource(folder: string): Source {
  const place = ({ networks }: StateFacts) => {
    const found = networks.findIndex(({ number }) => number === 1);
    if (found < 0) throw new StateError(folder, "it holds network 2 alone, and network 1 is wanted as well");
    return found;
  };
  const read = async () => {
    const facts = await readStateFacts(folder);
    return facts.networks[place(facts)].before.options;
  };
  /** What the step was known by before, while it still stands for the state: the training behind it may have replaced or removed that. */
  const known = async (earlier: EarlierStart | undefined): Promise<readonly [string, Network["options"]] | null> => {
    const [hash, options] = earlier?.fingerprint as [unknown, unknown] | null ?? [];
    if (typeof hash !== "string" || !options) return null;
    return await startingHash(folder, hash) === hash ? [hash, options as Network["options"]] : null;
  };
  return {
    fingerprint: async (earlier) => [...await known(earlier) ?? [await startingHash(folder, undefined), await read()]],
    options: async (earlier) => (await known(earlier))?.[1] ?? await read(),
    load: async () => {
      const { content, facts } = await readState(folder), at = place(facts);
      return { ...facts.networks[at].before, weights: content.state.networks[at].weights };
    },
  };
}
