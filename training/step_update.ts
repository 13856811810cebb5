import {
  accumulate,
  add,
  clipFactor,
  dependsOn,
  fill,
  gradients,
  input,
  multiply,
  pack,
  reshape,
  scale,
  slice,
  sqrt,
  square,
  sum,
  type Tensor,
  window,
} from "../engine/mod.ts";
import type { LoraNetwork } from "../lora/network.ts";
import type { ParameterGroups } from "./parameter_groups.ts";
import { partOf, type UpdatePart } from "./optimizers/optimizer.ts";
import type { StepNetwork, StepOptions } from "./step_graph.ts";
import { limitWeightNorms } from "./weight_norms.ts";

/** What a step makes of one network's gradient, before anything is changed. */
export interface TracedGradient {
  /** Before the last micro-batch: gradients added to those of earlier ones, as effects. */
  readonly kept: readonly Tensor[];
  /** The norms that are logged; none before the last micro-batch. */
  readonly figures: Readonly<Record<string, Tensor>>;
  readonly ranges: readonly Range[];
  /** What the optimizer gets for a range, by its place; computed anew each time it is asked for, so that it need not be held. */
  readonly given: (place: number) => Tensor;
}

/** What one network's update adds to a step. */
export interface TracedNetworkUpdate {
  readonly effects: readonly Tensor[];
  /** What the optimizer says of itself. */
  readonly figures: Readonly<Record<string, Tensor>>;
  /** What the optimizer got, flat. */
  readonly given: Tensor;
}

/** Elements between two rates in the input `rates_<k>`: windows of an input begin at multiples of 256 bytes. */
const rateStride = 64;

/** The input `rates_<k>`: each group's base rate times what the schedule says. */
export function rateFeed({ rates }: ParameterGroups, multiplier: number): Float32Array {
  const feed = new Float32Array(rates.length * rateStride);
  rates.forEach((rate, group) => feed[group * rateStride] = rate * multiplier);
  return feed;
}

/**
 * Traces a network's gradient and its clipping; before the last micro-batch gradients are added up alone.
 *
 * @param index Place of the network's loss in `losses`.
 */
export function traceGradient(
  network: StepNetwork,
  index: number,
  losses: readonly Tensor[],
  options: StepOptions,
): TracedGradient {
  const { number: k, lora, accumulated } = network, { count, isLast } = options.accumulation;
  const other = losses.length > 1 && options.form === "original" ? losses[1 - index] : null;
  const ranges = trainedRanges(losses[index], network);
  const share = (part: Tensor) => count > 1 ? scale(part, { factor: 1 / count }) : part;
  const gradient = (loss: Tensor) => gradientByRange(loss, lora, ranges, options.gradientCheckpointing)?.map(share);
  // Original form: backward(loss_1) and backward(loss_2) both reach this network; network 1 is clipped between the two.
  const own = gradient(index === 0 || !other ? losses[index] : add(other, losses[index]));
  if (!own) throw new TypeError(`Cannot train ${lora.name}: its loss does not depend on it`);
  const late = index === 0 && other ? gradient(other) ?? null : null;
  const total = ranges.map((range, place) => {
    const part = late && !isLast ? add(own[place], late[place]) : own[place];
    return count > 1 ? accumulate(partOf(accumulated.tensor, range), part, { keep: 1 }) : part;
  });
  if (!isLast) return { kept: total, figures: {}, ranges, given: (place) => total[place] };
  const clip = clipFactor(sumOfSquares(total), { limit: network.maxGradNorm });
  const figure = (place: number) => slice(clip, { axis: 0, start: place, length: 1 });
  const given = (place: number) => {
    const clipped = multiply(total[place], figure(1));
    return late ? add(clipped, late[place]) : clipped;
  };
  const figures: Record<string, Tensor> = { [`norm_${k}`]: reshape(figure(0), []) };
  // What comes behind the clip can be infinite by itself, so its norm counts too.
  if (late) figures[`norm_given_${k}`] = sqrt(sumOfSquares(ranges.map((_, place) => given(place))));
  return { kept: [], figures, ranges, given };
}

/**
 * Traces a network's optimizer; it changes nothing where `halted` is set.
 *
 * Input `rates_<k>` `[groups · 64]` has the learning rate of each parameter group at the beginning of its 64 elements.
 */
export function traceUpdate(
  { number: k, lora, optimizer, groups, accumulated, weightNorms }: StepNetwork,
  { ranges, given }: TracedGradient,
  halted: Tensor,
  options: StepOptions,
): TracedNetworkUpdate {
  const rates = input(`rates_${k}`, [groups.rates.length * rateStride]), gradients: Tensor[] = [];
  const parts = ranges.map((range, place): UpdatePart => ({
    ...range,
    rate: window(rates, range.group * rateStride, [1]),
    gradient: () => gradients[place] ??= given(place),
  }));
  // Weights at rate 0 stay as they are, whatever the optimizer.
  const moving = parts.filter((_, place) => groups.rates[ranges[place].group] > 0);
  const weights = lora.weights.tensor;
  const update = moving.length ? optimizer.update({ weights, parts: moving, halted }) : { effects: [], figures: {} };
  const limited = weightNorms ? limitWeightNorms(weightNorms, weights, halted) : { effects: [], figures: {} };
  const effects = [...update.effects, ...limited.effects], figures = { ...update.figures, ...limited.figures };
  const zeros = ({ length }: Range) => fill({ shape: [length], value: 0 });
  return {
    effects: options.accumulation.count > 1
      ? [...effects, ...ranges.map((range) => accumulate(partOf(accumulated.tensor, range), zeros(range), { keep: 0 }))]
      : effects,
    figures: Object.fromEntries(Object.entries(figures).map(([name, value]) => [`${name}_${k}`, value])),
    given: pack(parts.map((part) => part.gradient()), ranges.map(({ start }) => start), lora.sizeElements),
  };
}

/** Whole tensors side by side in a network's flat weights. */
export interface Range {
  readonly start: number;
  readonly length: number;
  /** Place of their learning rate. */
  readonly group: number;
}

/** Elements of a flat tensor that are taken at once: 16 MiB, so that bindings stay small and few bytes are held between two passes. */
const rangeElements = 2 ** 22;

function sumOfSquares(parts: readonly Tensor[]): Tensor {
  return parts.map((part) => sum(square(part))).reduce((total, part) => add(total, part));
}

/**
 * Ranges of a network's flat weights that a loss depends on, neighbours of one learning rate joined, none too long. PyTorch leaves a weight without a
 * gradient alone, decay included: such as those behind a skipped text layer, and frozen down projections.
 */
function trainedRanges(loss: Tensor, { lora, groups: { groupOf } }: StepNetwork): Range[] {
  const frozen = new Set(lora.orthonormalPlace === undefined ? [] : lora.modules.map(({ down }) => down));
  const depends = dependsOn(loss, lora.tensors.map(({ tensor }) => tensor));
  const ranges: { start: number; length: number; group: number }[] = [];
  for (const [i, tensor] of lora.tensors.entries()) {
    if (!depends[i] || frozen.has(tensor)) continue;
    const { offsetElements } = tensor;
    const end = lora.tensors[i + 1]?.offsetElements ?? lora.sizeElements, last = ranges.at(-1);
    const isNext = last && last.start + last.length === offsetElements && last.group === groupOf[i];
    if (isNext && end - last.start <= rangeElements) last.length = end - last.start;
    else ranges.push({ start: offsetElements, length: end - offsetElements, group: groupOf[i] });
  }
  return ranges;
}

/**
 * ∂loss / ∂weights of a network in its ranges, each laid out as its weights: a range is held from its first gradient on. Null when the loss does
 * not depend on the network.
 */
function gradientByRange(
  loss: Tensor,
  lora: LoraNetwork,
  ranges: readonly Range[],
  checkpointing: boolean,
): Tensor[] | null {
  const found = gradients(loss, lora.tensors.map(({ tensor }) => tensor), { checkpointing });
  if (!found.some((gradient) => gradient)) return null;
  return ranges.map(({ start, length }) => {
    const parts = lora.tensors.flatMap(({ offsetElements }, i) => {
      const offset = offsetElements - start, gradient = found[i];
      return gradient && offset >= 0 && offset < length ? [{ gradient, offset }] : [];
    });
    return parts.length
      ? pack(parts.map(({ gradient }) => gradient), parts.map(({ offset }) => offset), length)
      : fill({ shape: [length], value: 0 });
  });
}
