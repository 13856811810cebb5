import { Variable } from "../engine/mod.ts";
import type { LoraNetwork } from "../lora/network.ts";
import type { LearningRateOptions } from "./learning_rate.ts";
import type { LossOptions } from "./loss.ts";
import { makeOptimizer, type OptimizerOptions } from "./optimizers/optimizers.ts";
import type { Optimizer } from "./optimizers/optimizer.ts";
import { type ParameterGroups, parameterGroups, type PartRates } from "./parameter_groups.ts";

/** How one network is trained; each network of a dual training has its own. */
export interface NetworkSettings extends PartRates, LearningRateOptions {
  /** AdamW when left out. */
  readonly optimizer?: OptimizerOptions;
  /** 0: no clipping; 1 when left out. */
  readonly maxGradNorm?: number;
  readonly loss?: LossOptions;
}

/** A network's optimizer and what belongs to it, made without a GPU. */
export interface NetworkUpdater {
  readonly optimizer: Optimizer;
  /** Gradients kept between micro-batches. */
  readonly accumulated: Variable;
  readonly groups: ParameterGroups;
  readonly maxGradNorm: number;
  readonly loss: LossOptions;
}

/**
 * What updates a network by its settings.
 *
 * @throws {RangeError} If the optimizer does not exist, or an argument of it is out of range.
 * @throws {TypeError} If an argument of it is unknown.
 */
export function makeUpdater(lora: LoraNetwork, settings: NetworkSettings): NetworkUpdater {
  const { name, shape } = lora.weights;
  return {
    optimizer: makeOptimizer(settings.optimizer ?? {}, lora),
    accumulated: new Variable(`${name} accumulated gradient`, { shape, dtype: "f32" }),
    groups: parameterGroups(lora, settings),
    maxGradNorm: settings.maxGradNorm ?? 1,
    loss: settings.loss ?? {},
  };
}
