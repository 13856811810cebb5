import {
  adamw8bitSizes,
  adamw8bitSmallStep,
  adamw8bitStep,
  advanceClock,
  type BlockRange,
  blockWords,
  type Tensor,
  Variable,
} from "../../engine/mod.ts";
import { type ArgumentReader, betaRange, fromZero } from "./arguments.ts";
import { dynamicMap } from "./dynamic_map.ts";
import {
  type Optimizer,
  type OptimizerDefinition,
  partOf,
  scalarsOf,
  type TrainedTensor,
  type TrainedWeights,
  type UpdatePart,
} from "./optimizer.ts";

/** Elements that share one largest magnitude. */
const blockSize = 2048;

/** bitsandbytes' AdamW8bit, blockwise: moments take a byte each; tensors below 4096 elements keep them in f32. */
export const adamw8bit: OptimizerDefinition = { name: "AdamW8bit", make };

/** bitsandbytes' PagedAdamW8bit: the same numbers. */
export const pagedAdamw8bit: OptimizerDefinition = {
  name: "PagedAdamW8bit",
  note: "PagedAdamW8bit computes what AdamW8bit does; its state stays on the GPU, as WebGPU pages none",
  make,
};

function make(read: ArgumentReader, weights: TrainedWeights): Optimizer {
  const [beta1, beta2] = read.numbers("betas", [0.9, 0.999], betaRange);
  const constants = {
    beta1,
    beta2,
    epsilon: read.number("eps", 1e-8, fromZero),
    weightDecay: read.number("weight_decay", 0.01, fromZero),
  };
  const smallest = read.number("min_8bit_size", 4096, fromZero);
  read.only("amsgrad", false);
  read.only("percentile_clipping", 100);
  read.only("block_wise", true);
  read.noEffect("optim_bits", "args", "is_paged");
  const { name } = weights.weights, isLarge = ({ sizeElements }: TrainedTensor) => sizeElements >= smallest;
  const large = blocksOf(`${name} blocks`, weights.tensors, isLarge, (size) => Math.ceil(size / 4));
  const small = blocksOf(`${name} small blocks`, weights.tensors, (tensor) => !isLarge(tensor), (size) => size);
  const codes = new Variable(`${name} moment codes`, { shape: [2 * Math.max(1, large.stateSize)], dtype: "u32" });
  const largest = scalarsOf(weights, "largest moments", 2 * Math.max(1, large.count));
  const moments = scalarsOf(weights, "small tensors' moments", 2 * Math.max(1, small.stateSize));
  const clock = scalarsOf(weights, "clock", 1), maps = scalarsOf(weights, "code values", 512);
  const values = Float32Array.of(...dynamicMap(true), ...dynamicMap(false));
  return {
    state: {
      ...(large.count ? { codes, largest } : {}),
      ...(small.count ? { moments } : {}),
      clock,
    },
    initial: new Map<Variable, ArrayLike<number>>([
      [maps, values],
      [large.table, large.words],
      [small.table, small.words],
    ]),
    update: ({ weights, parts, halted }) => {
      const now = advanceClock(clock.tensor, halted), effects: Tensor[] = [];
      for (const part of parts) {
        const step = adamw8bitSizes(part.rate, now, halted, constants), parameter = partOf(weights, part);
        const big = large.rangeOf(part), little = small.rangeOf(part), gradient = part.gradient();
        if (big) {
          const attributes = { ...constants, ...big };
          effects.push(
            ...adamw8bitStep(
              parameter,
              codes.tensor,
              largest.tensor,
              gradient,
              step,
              maps.tensor,
              large.table.tensor,
              attributes,
            ),
          );
        }
        if (little) {
          const attributes = { ...constants, ...little };
          effects.push(
            ...adamw8bitSmallStep(parameter, moments.tensor, gradient, step, small.table.tensor, attributes),
          );
        }
      }
      return { effects, figures: {} };
    },
  };
}

/**
 * The table of the chosen tensors' blocks.
 *
 * @param sizeOf Elements of state that a block's elements take.
 */
function blocksOf(
  name: string,
  tensors: readonly TrainedTensor[],
  isChosen: (tensor: TrainedTensor) => boolean,
  sizeOf: (length: number) => number,
) {
  const words: number[] = [], starts: number[] = [];
  let stateSize = 0;
  for (const tensor of tensors) {
    if (!isChosen(tensor)) continue;
    const { offsetElements, sizeElements, layout, shape: [outSize, inSize, ...area] } = tensor;
    for (let first = 0; first < sizeElements; first += blockSize) {
      const length = Math.min(blockSize, sizeElements - first);
      const order = layout === "convolution" ? [area.reduce((a, b) => a * b), inSize, outSize] : [1, sizeElements, 1];
      words.push(offsetElements, first, length, stateSize, ...order, 0);
      starts.push(offsetElements);
      stateSize += sizeOf(length);
    }
  }
  const count = starts.length;
  const table = new Variable(name, { shape: [Math.max(1, count), blockWords], dtype: "u32" });
  /** The blocks of a part; null when it has none. */
  const rangeOf = ({ start, length }: UpdatePart): BlockRange | null => {
    const first = starts.findIndex((at) => at >= start), behind = starts.findIndex((at) => at >= start + length);
    const end = behind < 0 ? count : behind;
    return first < 0 || first >= end ? null : { first, count: end - first, start };
  };
  return { table, words: count ? words : Array(blockWords).fill(0), count, stateSize, rangeOf };
}
