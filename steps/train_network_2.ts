import { defineStep, replacing } from "../pipeline/mod.ts";
import { bases, data, freezing, latents, network1, network2, network2WithoutOrthogonality } from "./things.ts";
import { checkOptions, type OptionNames } from "./values/check_options.ts";
import { networkOptionNames, type NetworkOptions, networkOptions, networkStore } from "./values/network.ts";
import {
  checkOrthogonality,
  type OrthogonalitySetting,
  planTraining,
  trainNetworks,
} from "./values/network_training.ts";
import { checkTraining, trainingOptionNames, type TrainingOptions } from "./values/training_loop.ts";

/** Options of `trainNetwork2` and `trainBoth`. */
export interface TrainNetwork2Options extends TrainingOptions, NetworkOptions {
  /** The loss that keeps the two networks' hidden layers apart; on with coefficients 1 when left out. */
  readonly orthogonality?: Exclude<OrthogonalitySetting, false>;
}

const plainNames = { ...trainingOptionNames, ...networkOptionNames };
const coupledNames: OptionNames<TrainNetwork2Options> = { ...plainNames, orthogonality: true };

function check(step: string, options: TrainNetwork2Options): void {
  checkOptions<TrainNetwork2Options>(step, options, coupledNames);
  checkTraining(options);
  checkOrthogonality(step, options.orthogonality ?? {});
}

/**
 * Trains network 2 on its own data while the orthogonality loss keeps its hidden layers apart from network 1's. Network 1 stays as it was, or trains
 * along in the epochs that `freezeNetwork1` says.
 */
export function trainNetwork2(options: TrainNetwork2Options) {
  const name = "train network 2";
  check(name, options);
  const built = networkOptions(options), orthogonality = options.orthogonality ?? {};
  return defineStep({
    name,
    version: 1,
    options: { ...options, orthogonality },
    needs: { bases, data, latents, network1, freezing },
    gives: { network2, network1: replacing(network1) },
    plan: ({ bases, data, network1, freezing }) => ({
      ...planTraining(bases, data, [1, 2], [network1.options, built], options, freezing, orthogonality),
      gives: { network1, network2: { options: built } },
    }),
    run: async ({ bases, data, latents, network1, freezing }, run) => {
      const starts = [{ options: network1.options, network: network1 }, { options: built }];
      const [one, two] = await trainNetworks(
        bases,
        data,
        latents,
        [1, 2],
        starts,
        options,
        freezing,
        orthogonality,
        run,
      );
      return { network1: one, network2: two };
    },
    store: networkStore("network1", "network2"),
  });
}

/** Trains network 2 alone, as if there were no network 1: what the method is compared with. */
export function trainNetwork2WithoutOrthogonality(options: Omit<TrainNetwork2Options, "orthogonality">) {
  const name = "train network 2 without orthogonality";
  checkOptions<Omit<TrainNetwork2Options, "orthogonality">>(name, options, plainNames);
  checkTraining(options);
  const built = networkOptions(options);
  return defineStep({
    name,
    version: 1,
    options,
    needs: { bases, data, latents },
    gives: { network2WithoutOrthogonality },
    plan: ({ bases, data }) => ({
      ...planTraining(bases, data, [2], [built], options, {}, false),
      gives: { network2WithoutOrthogonality: { options: built } },
    }),
    run: async ({ bases, data, latents }, run) => {
      const [network] = await trainNetworks(bases, data, latents, [2], [{ options: built }], options, {}, false, run);
      return { network2WithoutOrthogonality: network };
    },
    store: networkStore("network2WithoutOrthogonality"),
  });
}

/** Options of `trainBoth`. */
export interface TrainBothOptions extends TrainNetwork2Options {
  /** Epoch from which orthogonality is on; 0 when left out (`--anneal_epoch`). */
  readonly annealEpoch?: number;
  /** Before `annealEpoch`, orthogonality is on in epochs after this one; 0 when left out (`--half_annel_epoch`). */
  readonly halfAnnealEpoch?: number;
}

/** Trains both networks from the start, side by side on the same timesteps. */
export function trainBoth(options: TrainBothOptions) {
  const name = "train both networks";
  checkOptions<TrainBothOptions>(name, options, { ...coupledNames, annealEpoch: true, halfAnnealEpoch: true });
  const { annealEpoch = 0, halfAnnealEpoch = 0, ...coupled } = options, freezing = { annealEpoch, halfAnnealEpoch };
  check(name, coupled);
  const built = networkOptions(options), orthogonality = options.orthogonality ?? {};
  return defineStep({
    name,
    version: 1,
    options: { ...options, orthogonality },
    needs: { bases, data, latents },
    gives: { network1, network2 },
    plan: ({ bases, data }) => ({
      ...planTraining(bases, data, [1, 2], [built, built], options, freezing, orthogonality),
      gives: { network1: { options: built }, network2: { options: built } },
    }),
    run: async ({ bases, data, latents }, run) => {
      const starts = [{ options: built }, { options: built }];
      const [network1, network2] = await trainNetworks(
        bases,
        data,
        latents,
        [1, 2],
        starts,
        options,
        freezing,
        orthogonality,
        run,
      );
      return { network1, network2 };
    },
    store: networkStore("network1", "network2"),
  });
}
