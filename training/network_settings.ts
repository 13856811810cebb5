import { Variable } from "../engine/mod.ts";
import type { LoraNetwork } from "../lora/network.ts";
import type { LearningRateOptions } from "./learning_rate.ts";
import type { LossOptions } from "./loss.ts";
import { makeOptimizer, optimizerByName, type OptimizerOptions } from "./optimizers/optimizers.ts";
import type { Optimizer } from "./optimizers/optimizer.ts";
import { type WeightNormLimit, weightNormLimit } from "./weight_norms.ts";
import { type ParameterGroups, parameterGroups, type PartRates } from "./parameter_groups.ts";

/** How one network is trained; each network of a dual training has its own. */
export interface NetworkSettings extends PartRates, LearningRateOptions {
  /** AdamW when left out. */
  readonly optimizer?: OptimizerOptions;
  /** 0: no clipping; 1 when left out. */
  readonly maxGradNorm?: number;
  readonly loss?: LossOptions;
  /** Largest norm of a module's scaled product, which is scaled down to it after each step; no limit when left out. */
  readonly maxWeightNorm?: number;
}

/** A network's optimizer and what belongs to it, made without a GPU. */
export interface NetworkUpdater {
  readonly optimizer: Optimizer;
  /** Gradients kept between micro-batches. */
  readonly accumulated: Variable;
  readonly groups: ParameterGroups;
  readonly maxGradNorm: number;
  readonly loss: LossOptions;
  readonly weightNorms: WeightNormLimit | null;
}

/**
 * What updates a network by its settings.
 *
 * @throws {RangeError} If the optimizer does not exist, an argument of it is out of range, or it cannot have several learning rates.
 * @throws {TypeError} If an argument of it is unknown.
 */
export function makeUpdater(lora: LoraNetwork, settings: NetworkSettings): NetworkUpdater {
  const { name, shape } = lora.weights, groups = parameterGroups(lora, settings);
  const { name: optimizer, oneRate } = optimizerByName(settings.optimizer?.name ?? "AdamW");
  const rates = groups.rates.filter((rate) => rate > 0);
  if (oneRate && rates.length > 1) {
    throw new RangeError(
      `Cannot train ${lora.name} with ${optimizer}: it finds one learning rate for the whole network, its blocks have ${
        rates.join(", ")
      }; give all the same`,
    );
  }
  return {
    optimizer: makeOptimizer(settings.optimizer ?? {}, lora),
    accumulated: new Variable(`${name} accumulated gradient`, { shape, dtype: "f32" }),
    groups,
    maxGradNorm: settings.maxGradNorm ?? 1,
    loss: settings.loss ?? {},
    weightNorms: settings.maxWeightNorm === undefined ? null : weightNormLimit(lora, settings.maxWeightNorm),
  };
}

/** All variables of an updater, its network's weights left out. */
export function updaterVariables({ optimizer, accumulated, weightNorms }: NetworkUpdater): Variable[] {
  return [
    ...Object.values(optimizer.state),
    ...optimizer.initial.keys(),
    accumulated,
    ...(weightNorms ? [weightNorms.table, weightNorms.scales, weightNorms.norms] : []),
  ];
}

/** What variables of an updater hold in the beginning; all others begin at 0. */
export function initialValues({ optimizer, weightNorms }: NetworkUpdater): [Variable, ArrayLike<number>][] {
  return [...optimizer.initial, ...weightNorms?.initial ?? []];
}
