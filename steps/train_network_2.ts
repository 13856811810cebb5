import { defineStep, replacing } from "../pipeline/mod.ts";
import { savingClaims } from "./outputs/saving.ts";
import { bases, data, freezing, latents, network1, network2 } from "./things.ts";
import { withoutOutputs } from "./outputs/open_outputs.ts";
import { trainingFingerprint } from "./outputs/resumed_state.ts";
import { checkOptions, type OptionNames } from "./values/check_options.ts";
import { networkOptionNames, networkOptions, type NetworkStartOptions, networkStore } from "./values/network.ts";
import { resolveStart } from "./values/network_start.ts";
import {
  checkOrthogonality,
  checkStack,
  type OrthogonalitySetting,
  type StackSetting,
} from "./values/coupling_options.ts";
import { planTraining } from "./values/plan_training.ts";
import { trainNetworks } from "./values/network_training.ts";
import {
  checkOwnTraining,
  checkTraining,
  type OwnTrainingOptions,
  trainingOptionNames,
  type TrainingOptions,
} from "./values/training_options.ts";

/** Options of steps that train a network against another. */
export interface CoupledTrainingOptions extends TrainingOptions, NetworkStartOptions {
  /** The loss that keeps the two networks' hidden layers apart; on with coefficients 1 when left out. */
  readonly orthogonality?: Exclude<OrthogonalitySetting, false>;
  /** Network 2 also learns with both networks in one base; false when left out. */
  readonly stack?: StackSetting;
}

/** Options of `trainNetwork2`. */
export interface TrainNetwork2Options extends CoupledTrainingOptions {
  /** What network 1 has of its own while it trains along; network 2's where left out. */
  readonly network1?: OwnTrainingOptions;
}

/** Names of all `CoupledTrainingOptions`. */
export const coupledTrainingNames: OptionNames<CoupledTrainingOptions> = {
  ...trainingOptionNames,
  ...networkOptionNames,
  orthogonality: true,
  stack: true,
};

/**
 * Trains network 2 on its own data while the orthogonality loss keeps its hidden layers apart from network 1's. Network 1 stays as it was, or trains
 * along in the epochs that `freezeNetwork1` says.
 */
export function trainNetwork2(options: TrainNetwork2Options) {
  const name = "train network 2";
  checkOptions<TrainNetwork2Options>(name, options, { ...coupledTrainingNames, network1: true });
  const { network1: own = {}, orthogonality = {}, stack = false, ...coupled } = options;
  checkTraining(coupled);
  checkOwnTraining(name, own, coupled, "network1");
  checkOrthogonality(name, orthogonality);
  checkStack(name, stack, orthogonality);
  const built = networkOptions(name, coupled);
  return defineStep({
    name,
    version: 3,
    options: { ...options, orthogonality },
    workOptions: withoutOutputs({ ...options, orthogonality }),
    seeds: { seed: options.seed ?? 1 },
    needs: { bases, data, latents, network1, freezing },
    gives: { network2, network1: replacing(network1) },
    claims: savingClaims(options.save),
    fingerprint: (_signal, _folder, earlier) => trainingFingerprint(options, earlier, built),
    plan: async ({ bases, data, latents, network1, freezing }, earlier) => {
      const start = await resolveStart(built, 2);
      const networks = [{ number: 1, start: { options: network1.options }, own }, { number: 2, start }] as const;
      const task = { networks, options: coupled, freezing, orthogonality, stack };
      return {
        ...await planTraining(bases, data, latents, task, earlier),
        gives: { network1, network2: { options: start.options } },
      };
    },
    run: async ({ bases, data, latents, network1, freezing }, run) => {
      const networks = [
        { number: 1, start: { options: network1.options, network: network1 }, own },
        { number: 2, start: await resolveStart(built, 2) },
      ] as const;
      const task = { networks, options: coupled, freezing, orthogonality, stack };
      const [one, two] = await trainNetworks(bases, data, latents, task, run);
      return { network1: one, network2: two };
    },
    store: networkStore("network1", "network2"),
  });
}
