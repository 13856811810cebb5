import {
  abs,
  adaptiveScalars,
  add,
  dadaptEstimate,
  type DadaptEstimateAttributes,
  dadaptStep,
  type DadaptStepAttributes,
  divide,
  multiply,
  reshape,
  scale,
  slice,
  sqrt,
  square,
  sum,
  type Tensor,
  type Variable,
} from "../../engine/mod.ts";
import { aboveZero, type ArgumentReader, fromZero } from "./arguments.ts";
import {
  type OptimizerUpdate,
  partOf,
  scalarsOf,
  stateOf,
  type TracedUpdate,
  type TrainedWeights,
} from "./optimizer.ts";

/** Arguments that all D-adaptive optimizers have. */
export function readAdaptive(read: ArgumentReader, options: { decay?: number; grows?: boolean } = {}) {
  const { decay = 0, grows = true } = options;
  read.noEffect("log_every", "fsdp_in_use");
  const growthRate = grows ? read.number("growth_rate", null, aboveZero) : null;
  return {
    firstDistance: read.number("d0", 1e-6, aboveZero),
    weightDecay: read.number("weight_decay", decay, fromZero),
    ...(growthRate === null ? {} : { growthRate }),
  };
}

/** State of a D-adaptive optimizer: variables of the weights' shape, and the scalars, which begin with d. */
export function adaptiveState<Name extends string>(
  weights: TrainedWeights,
  names: readonly Name[],
  scalars: readonly number[],
): { flat: Record<Name, Variable>; scalars: Variable; initial: Map<Variable, readonly number[]> } {
  const flat = Object.fromEntries(names.map((name) => [name, stateOf(weights, name)])) as Record<Name, Variable>;
  const own = scalarsOf(weights, "adaptive scalars", scalars.length);
  return { flat, scalars: own, initial: new Map([[own, scalars]]) };
}

/** `[d, 0, 0, 0]`: scalars before the first step. */
export function firstScalars(distance: number): number[] {
  return [distance, 0, 0, 0];
}

/** One part of the weights with windows of all state, while a D-adaptive step is traced. */
export interface AdaptivePart<Name extends string> {
  readonly parameter: Tensor;
  /** With the decay, where that is part of it. */
  readonly gradient: Tensor;
  readonly state: Readonly<Record<Name, Tensor>>;
}

/** Sums over all parameters that an estimate is made from, each `[1]`, from one part's share of them. */
export interface EstimateSums {
  readonly sum: Tensor;
  /** Left out where the estimate has no use for it. */
  readonly weighted?: Tensor;
  readonly norm: Tensor;
}

/** What a D-adaptive optimizer is made of, all in the order of its original. */
export interface AdaptiveMethod<Name extends string> {
  readonly flat: Readonly<Record<Name, Variable>>;
  readonly scalars: Variable;
  /** Decay that is added to the gradient. */
  readonly coupledDecay: number;
  readonly biasCorrection?: DadaptStepAttributes["biasCorrection"];
  /** Replaces the rate of the step. */
  stepOf?(step: Tensor, update: OptimizerUpdate): Tensor;
  /** A part's share of the numerator, from what the state was before this step. */
  before?(part: AdaptivePart<Name>): Tensor;
  /** Changes the state; gives the changed state back, under the same names. */
  change(part: AdaptivePart<Name>, step: Tensor): { state: Partial<Record<Name, Tensor>>; effects: readonly Tensor[] };
  /** A part's shares of the other sums, from the changed state; `sum` too, unless `before` made it. */
  after(part: AdaptivePart<Name>): { sum?: Tensor; weighted?: Tensor; norm: Tensor };
  /** From the norm's sum to the norm. */
  finishNorm?(norm: Tensor): Tensor;
  /** Overwrites the scalars. */
  estimate(scalars: Tensor, sums: EstimateSums, step: Tensor): Tensor;
  /** Moves the parameters by the new estimate; left out where `change` has moved them. */
  move?(part: AdaptivePart<Name>, step: Tensor, scalars: Tensor): Tensor;
}

/**
 * Traces a D-adaptive step: sums over all parts come before the scalars change, and all parts move after that.
 *
 * @see Defazio and Mishchenko 2023, https://arxiv.org/abs/2301.07733
 */
export function traceAdaptive<Name extends string>(
  method: AdaptiveMethod<Name>,
  update: OptimizerUpdate,
): TracedUpdate {
  const { weights, parts, halted } = update, names = Object.keys(method.flat) as Name[];
  const own = parts.map((part): AdaptivePart<Name> => {
    const parameter = partOf(weights, part);
    return {
      parameter,
      gradient: method.coupledDecay === 0
        ? part.gradient()
        : add(part.gradient(), scale(parameter, { factor: method.coupledDecay })),
      state: Object.fromEntries(names.map((name) => [name, partOf(method.flat[name].tensor, part)])) as Record<
        Name,
        Tensor
      >,
    };
  });
  const plain = dadaptStep(method.scalars.tensor, parts[0].rate, halted, null, {
    ...(method.biasCorrection ? { biasCorrection: method.biasCorrection } : {}),
  });
  const step = method.stepOf?.(plain, update) ?? plain;
  const numerators = method.before ? own.map((part) => method.before!(part)) : [];
  const effects: Tensor[] = [];
  const changed = own.map((part): AdaptivePart<Name> => {
    const { state, effects: made } = method.change(part, step);
    effects.push(...made);
    return { ...part, state: { ...part.state, ...state } };
  });
  const found = changed.map((part) => method.after(part));
  const weighted = found.flatMap((each) => each.weighted ?? []), norm = total(found.map((each) => each.norm));
  const scalars = method.estimate(method.scalars.tensor, {
    sum: total(method.before ? numerators : found.map((each) => each.sum!)),
    ...(weighted.length ? { weighted: total(weighted) } : {}),
    norm: method.finishNorm?.(norm) ?? norm,
  }, step);
  effects.push(scalars);
  if (method.move) effects.push(...changed.map((part) => method.move!(part, step, scalars)));
  const { distance } = adaptiveScalars;
  return { effects, figures: { d: reshape(slice(scalars, { axis: 0, start: distance, length: 1 }), []) } };
}

/** The estimate that all optimizers of the dadaptation package share. */
export function estimateWith(attributes: DadaptEstimateAttributes) {
  return (scalars: Tensor, { sum, weighted, norm }: EstimateSums, step: Tensor): Tensor =>
    dadaptEstimate(scalars, sum, weighted ?? norm, norm, step, attributes);
}

function total(shares: readonly Tensor[]): Tensor {
  return reshape(shares.reduce((all, share) => add(all, share)), [1]);
}

/** `√v + ε`. */
export function divisorOf(squares: Tensor, epsilon: number): Tensor {
  return scale(sqrt(squares), { factor: 1, offset: epsilon });
}

/** Σ a·b. */
export function dot(a: Tensor, b: Tensor): Tensor {
  return sum(multiply(a, b));
}

/** Σ |x|. */
export function sumOfMagnitudes(x: Tensor): Tensor {
  return sum(abs(x));
}

/** Σ x² / divisor. */
export function weightedSquares(x: Tensor, divisor: Tensor): Tensor {
  return sum(divide(square(x), divisor));
}
