import { type Tensor, Variable, window } from "../../engine/mod.ts";
import type { ArgumentReader } from "./arguments.ts";

/** Weights as an optimizer sees them: tensors one after another in one flat variable. A `LoraNetwork` is one. */
export interface TrainedWeights {
  /** `[size]`, f32. */
  readonly weights: Variable;
  readonly tensors: readonly TrainedTensor[];
}

/** A tensor's place in flat weights. */
export interface TrainedTensor {
  /** PyTorch's. */
  readonly shape: readonly number[];
  /** Whether it lies as PyTorch has it, or as a convolution's weight, `[height, width, in, out]`. */
  readonly layout: "same" | "convolution";
  /** A multiple of 64. */
  readonly offsetElements: number;
  readonly sizeElements: number;
}

/** Whole tensors that are updated together: side by side in the flat weights, at one learning rate. */
export interface UpdatePart {
  /** First element. */
  readonly start: number;
  /** Elements, padding between tensors included. */
  readonly length: number;
  /** `[1]`, the learning rate. */
  readonly rate: Tensor;
  /** `[length]`, what the optimizer gets: clipped, and 0 in the padding. Traced when it is first asked for, so that little is held at a time. */
  gradient(): Tensor;
}

/** What an optimizer's part of a step is traced from. */
export interface OptimizerUpdate {
  /** The flat weights. */
  readonly weights: Tensor;
  readonly parts: readonly UpdatePart[];
  /** See `haltUnlessFinite`: nothing may change where it is not 0. */
  readonly halted: Tensor;
}

/** What an optimizer adds to a step. */
export interface TracedUpdate {
  /** Results of ops that overwrite variables. */
  readonly effects: readonly Tensor[];
  /** Scalars to log, such as `d`. */
  readonly figures: Readonly<Record<string, Tensor>>;
}

/** A network's optimizer: its state on the device, and what it adds to a step's graph. */
export interface Optimizer {
  /** Everything that the next step depends on, by the names that checkpoints use. */
  readonly state: Readonly<Record<string, Variable>>;
  /** What variables hold in the beginning, those that `state` does not name too; all others begin at 0. */
  readonly initial: ReadonlyMap<Variable, ArrayLike<number>>;
  /** Finds its learning rates itself, and logs one as `learning_rate`: those of the settings mean nothing to it. */
  readonly ownRates?: true;
  update(step: OptimizerUpdate): TracedUpdate;
}

/** An optimizer by name. */
export interface OptimizerDefinition {
  /** sd-scripts' spelling. */
  readonly name: string;
  /** One learning rate serves all parts of a network: D-adaptive optimizers estimate one distance for all of them. */
  readonly oneRate?: true;
  /** What is otherwise here than the name says, in a sentence. */
  readonly note?: string;
  /** Has learning rates of its own with these arguments, so that the schedule must be `adafactor`. */
  ownRates?(read: ArgumentReader): boolean;
  /**
   * @param read The given arguments; those that are not asked for are refused afterwards.
   * @throws {RangeError} If an argument is out of range.
   */
  make(read: ArgumentReader, weights: TrainedWeights): Optimizer;
}

/** A state variable of the shape of the weights. */
export function stateOf({ weights: { name, shape } }: TrainedWeights, what: string): Variable {
  return new Variable(`${name} ${what}`, { shape, dtype: "f32" });
}

/** A state variable with a few numbers. */
export function scalarsOf({ weights: { name } }: TrainedWeights, what: string, count: number): Variable {
  return new Variable(`${name} ${what}`, { shape: [count], dtype: "f32" });
}

/** The part's window in what is laid out as the flat weights. */
export function partOf(flat: Tensor, { start, length }: Pick<UpdatePart, "start" | "length">): Tensor {
  return window(flat, start, [length]);
}
