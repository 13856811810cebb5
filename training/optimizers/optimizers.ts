import { Variable } from "../../engine/mod.ts";
import { ArgumentReader, type OptimizerArguments } from "./arguments.ts";
import { adafactor } from "./adafactor.ts";
import { adamw8bit, pagedAdamw8bit } from "./adamw_8bit.ts";
import { adamw } from "./adamw.ts";
import { dadaptAdam, dadaptAdamPreprint } from "./dadapt_adam.ts";
import { dadaptAdan, dadaptAdanIp } from "./dadapt_adan.ts";
import { dadaptAdaGrad, dadaptSgd } from "./dadapt_dual_averaging.ts";
import { dadaptLion } from "./dadapt_lion.ts";
import { lion } from "./lion.ts";
import type { Optimizer, OptimizerDefinition, TrainedWeights } from "./optimizer.ts";
import { type LearningRateOptions, polynomialEnd } from "../learning_rate.ts";
import type { PartRates } from "../parameter_groups.ts";
import { prodigy } from "./prodigy.ts";
import { sgdNesterov } from "./sgd_nesterov.ts";

/** All optimizers, in the order of sd-scripts' help. */
const definitions: readonly OptimizerDefinition[] = [
  adamw,
  adamw8bit,
  pagedAdamw8bit,
  lion,
  sgdNesterov,
  dadaptAdamPreprint,
  dadaptAdaGrad,
  dadaptAdam,
  dadaptAdan,
  dadaptAdanIp,
  dadaptLion,
  dadaptSgd,
  adafactor,
  prodigy,
];

/** sd-scripts' other names. */
const aliases: Readonly<Record<string, string>> = {
  dadaptation: "DAdaptAdamPreprint",
};

/** Optimizers that sd-scripts has, and why they are not here. */
const refused: Readonly<Record<string, string>> = {
  lion8bit: "Lion is here with its one moment in f32 alone, half of what AdamW keeps; use Lion or AdamW8bit",
  pagedlion8bit: "Lion is here with its one moment in f32 alone, half of what AdamW keeps; use Lion or PagedAdamW8bit",
  sgdnesterov8bit: "bitsandbytes' 8-bit SGD leaves Nesterov's momentum out; use SGDNesterov or AdamW8bit",
};

/** Which optimizer a network is trained with (`--optimizer_type`, `--optimizer_args`). */
export interface OptimizerOptions {
  /** In any case of letters, as in sd-scripts; AdamW when left out. */
  readonly name?: string;
  readonly arguments?: OptimizerArguments;
}

/** Names of all optimizers. */
export const optimizerNames: readonly string[] = definitions.map(({ name }) => name);

/**
 * An optimizer by its name, in any case of letters.
 *
 * @throws {RangeError} If there is none, or it is refused.
 */
export function optimizerByName(name: string): OptimizerDefinition {
  const key = name.toLowerCase(), wanted = (aliases[key] ?? name).toLowerCase();
  const found = definitions.find((each) => each.name.toLowerCase() === wanted);
  if (found) return found;
  if (Object.hasOwn(refused, key)) throw new RangeError(`Cannot use optimizer ${name}: ${refused[key]}`);
  throw new RangeError(`Cannot use optimizer ${JSON.stringify(name)}: it is none of ${optimizerNames.join(", ")}`);
}

/**
 * Makes a network's optimizer, without a GPU.
 *
 * @throws {RangeError} If the optimizer does not exist or an argument is out of range.
 * @throws {TypeError} If an argument is unknown.
 */
export function makeOptimizer(options: OptimizerOptions, weights: TrainedWeights): Optimizer {
  return readOptimizer(options, weights).made;
}

function readOptimizer(options: OptimizerOptions, weights: TrainedWeights) {
  const definition = optimizerByName(options.name ?? "AdamW");
  const read = new ArgumentReader(definition.name, options.arguments ?? {});
  const made = definition.make(read, weights);
  read.finish();
  return { definition, read, made };
}

/** Weights that are none: for checking arguments alone. */
const noWeights: TrainedWeights = { weights: new Variable("no weights", { shape: [0], dtype: "f32" }), tensors: [] };

/**
 * What is otherwise than an optimizer's name and arguments say, in sentences: among them arguments that have no effect.
 *
 * @throws As {@link makeOptimizer}.
 */
export function optimizerNotes(options: OptimizerOptions): string[] {
  const { definition: { name, note }, read: { idle } } = readOptimizer(options, noWeights);
  return [
    ...note === undefined ? [] : [note],
    ...idle.map((argument) =>
      `${name}'s argument ${argument} has no effect: it is about how its own package computes, not what`
    ),
  ];
}

/**
 * Checks an optimizer, its arguments, and that its learning rates and schedule suit it.
 *
 * @throws {RangeError} If the optimizer does not exist, a value is out of range, a D-adaptive optimizer is given several learning rates, or
 *   `polynomial` would begin below its end.
 * @throws {TypeError} If an argument is unknown.
 */
export function checkOptimizer(
  settings: PartRates & Pick<LearningRateOptions, "schedule"> & { readonly optimizer?: OptimizerOptions },
): void {
  const { optimizer = {}, learningRate, textEncoderLearningRate, unetLearningRate, schedule = "constant" } = settings;
  const definition = optimizerByName(optimizer.name ?? "AdamW");
  makeOptimizer(optimizer, noWeights);
  const rates = new Set([textEncoderLearningRate, unetLearningRate].map((rate) => rate ?? learningRate));
  rates.delete(0);
  if (definition.oneRate && rates.size > 1) {
    throw new RangeError(
      `Cannot use ${definition.name}: it finds one learning rate for the whole network, the text encoder has ${
        textEncoderLearningRate ?? learningRate
      } and the UNet ${unetLearningRate ?? learningRate}; give both the same`,
    );
  }
  if (schedule === "adafactor" && !hasOwnRates(optimizer)) {
    throw new RangeError(
      `Cannot use schedule adafactor with ${definition.name}: it shows the rates that AdaFactor finds with relative_step=True`,
    );
  }
  if (schedule === "polynomial" && learningRate <= polynomialEnd && !hasOwnRates(optimizer)) {
    throw new RangeError(
      `Cannot use schedule polynomial with the learning rate ${learningRate}: it ends at ${polynomialEnd}, and must begin above that`,
    );
  }
}

/**
 * Whether an optimizer finds its learning rates itself, so that those it is given, and their schedule, decide nothing but which weights stay as they are, at 0.
 *
 * @throws {RangeError} If the optimizer does not exist, or an argument that this depends on is out of range.
 */
export function hasOwnRates({ name = "AdamW", arguments: given = {} }: OptimizerOptions): boolean {
  const definition = optimizerByName(name);
  return definition.ownRates?.(new ArgumentReader(definition.name, given)) ?? false;
}
