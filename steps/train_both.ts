import { defineStep } from "../pipeline/mod.ts";
import { epochPhase } from "../training/phases.ts";
import { savingClaims } from "./outputs/saving.ts";
import { bases, data, latents, network1, network2 } from "./things.ts";
import { coupledTrainingNames, type CoupledTrainingOptions } from "./train_network_2.ts";
import { withoutOutputs } from "./outputs/open_outputs.ts";
import { trainingFingerprint } from "./outputs/resumed_state.ts";
import { checkOptions } from "./values/check_options.ts";
import { networkOptionNames, networkOptions, type NetworkStartOptions, networkStore } from "./values/network.ts";
import { resolveStart } from "./values/network_start.ts";
import { checkOrthogonality, checkStack } from "./values/coupling_options.ts";
import { planTraining } from "./values/plan_training.ts";
import { type TrainingTask, trainNetworks } from "./values/network_training.ts";
import {
  checkOwnTraining,
  checkTraining,
  ownTrainingOptionNames,
  type OwnTrainingOptions,
} from "./values/training_options.ts";

/** What network 2 may have of its own, modules and training; flags that end in `_2`. It never starts from network 1's file. */
export interface Network2Options extends OwnTrainingOptions, Partial<NetworkStartOptions> {}

/** Options of `trainBoth`. */
export interface TrainBothOptions extends CoupledTrainingOptions {
  /** What network 2 has of its own; network 1's where left out. */
  readonly network2?: Network2Options;
  /** Epoch from which orthogonality is on; 0 when left out (`--anneal_epoch`). */
  readonly annealEpoch?: number;
  /** Before `annealEpoch`, orthogonality is on in epochs after this one; 0 when left out (`--half_annel_epoch`). */
  readonly halfAnnealEpoch?: number;
}

/** Trains both networks from the start, side by side on the same timesteps. */
export function trainBoth(options: TrainBothOptions) {
  const name = "train both networks";
  checkOptions<TrainBothOptions>(name, options, {
    ...coupledTrainingNames,
    network2: true,
    annealEpoch: true,
    halfAnnealEpoch: true,
  });
  const { annealEpoch = 0, halfAnnealEpoch = 0, network2: second = {}, orthogonality = {}, stack = false, ...shared } =
    options;
  checkTraining(shared);
  checkOptions<Network2Options>(name, second, { ...ownTrainingOptionNames, ...networkOptionNames }, "network2");
  const own = pick(second, Object.keys(ownTrainingOptionNames));
  checkOwnTraining(name, own, shared, "network2");
  checkOrthogonality(name, orthogonality);
  checkStack(name, stack, orthogonality);
  const freezing = { annealEpoch, halfAnnealEpoch };
  // Refuses epochs that are none.
  epochPhase(0, freezing);
  const { weights: _, ranksFromWeights: __, ...inherited } = shared;
  const built1 = networkOptions(name, shared), built2 = networkOptions(name, { ...inherited, ...second });
  const taskOf = async (): Promise<TrainingTask> => ({
    networks: [{ number: 1, start: await resolveStart(built1, 1) }, {
      number: 2,
      start: await resolveStart(built2, 2),
      own,
    }],
    options: shared,
    freezing,
    orthogonality,
    stack,
  });
  return defineStep({
    name,
    version: 3,
    options: { ...options, orthogonality },
    workOptions: withoutOutputs({ ...options, orthogonality }),
    seeds: { seed: options.seed ?? 1 },
    needs: { bases, data, latents },
    gives: { network1, network2 },
    claims: savingClaims(options.save),
    fingerprint: (_signal, _folder, earlier) => trainingFingerprint(options, earlier, built1, built2),
    plan: async ({ bases, data, latents }, earlier) => {
      const task = await taskOf(), [network1, network2] = task.networks.map(({ start: { options } }) => ({ options }));
      return { ...await planTraining(bases, data, latents, task, earlier), gives: { network1, network2 } };
    },
    run: async ({ bases, data, latents }, run) => {
      const [network1, network2] = await trainNetworks(bases, data, latents, await taskOf(), run);
      return { network1, network2 };
    },
    store: networkStore("network1", "network2"),
  });
}

function pick(options: object, names: readonly string[]): object {
  return Object.fromEntries(Object.entries(options).filter(([name]) => names.includes(name)));
}
