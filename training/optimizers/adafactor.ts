import {
  adafactorMeans,
  adafactorMove,
  adafactorScales,
  adafactorUpdate,
  advanceClock,
  type FactoredRange,
  factoredWords,
  movingMean,
  reshape,
  slice,
  type Tensor,
  Variable,
} from "../../engine/mod.ts";
import { aboveZero, type ArgumentReader, betaRange, fromZero } from "./arguments.ts";
import {
  type OptimizerDefinition,
  partOf,
  scalarsOf,
  stateOf,
  type TrainedTensor,
  type TrainedWeights,
  type UpdatePart,
} from "./optimizer.ts";

/** transformers' Adafactor. With `relative_step`, the default, it finds its learning rates itself. */
export const adafactor: OptimizerDefinition = {
  name: "AdaFactor",
  ownRates: isRelative,
  make: (read, weights) => {
    const [epsilon, leastScale] = read.numbers("eps", [1e-30, 1e-3], fromZero);
    const clipThreshold = read.number("clip_threshold", 1, aboveZero);
    const decayRate = read.number("decay_rate", -0.8, ["below 0", (value) => value < 0]);
    const beta = read.number("beta1", null, betaRange), weightDecay = read.number("weight_decay", 0, fromZero);
    const scales = read.boolean("scale_parameter", true), perUpdate = read.boolean("warmup_init", false);
    const relative = isRelative(read) ? { relativeStep: { most: perUpdate ? 1e-6 : 1e-2, perUpdate } } : {};
    const layout = layoutOf(weights), { table, rowCount, columnCount } = layout;
    const rows = scalarsOf(weights, "row means", rowCount), columns = scalarsOf(weights, "column means", columnCount);
    const clock = scalarsOf(weights, "clock", 1), moment = beta === null ? null : stateOf(weights, "first moment");
    return {
      state: { rowMeans: rows, columnMeans: columns, clock, ...(moment ? { firstMoment: moment } : {}) },
      initial: new Map([[table, layout.words]]),
      ...("relativeStep" in relative ? { ownRates: true as const } : {}),
      update: ({ weights, parts, halted }) => {
        const now = advanceClock(clock.tensor, halted), effects: Tensor[] = [];
        const ranges = parts.map((part) => layout.rangeOf(part));
        // All means change before one is read: they lie in one variable for the whole network.
        const means = (variable: Variable, axis: "rows" | "columns") => {
          const changed = parts.map((part, i) =>
            adafactorMeans(variable.tensor, part.gradient(), halted, now, table.tensor, {
              ...ranges[i].range,
              axis,
              ...ranges[i][axis],
              decayRate,
              epsilon,
            })
          );
          effects.push(...changed);
          return changed.at(-1)!;
        };
        const rowMeans = means(rows, "rows"), columnMeans = means(columns, "columns");
        // The sizes of all parts are found before the first part moves.
        const sizes = parts.map((part, i) =>
          adafactorScales(
            partOf(weights, part),
            part.gradient(),
            rowMeans,
            columnMeans,
            part.rate,
            now,
            table.tensor,
            { ...ranges[i].range, clipThreshold, ...(scales ? { leastScale } : {}), ...relative },
          )
        );
        for (const [i, part] of parts.entries()) {
          const { range } = ranges[i];
          const update = adafactorUpdate(part.gradient(), rowMeans, columnMeans, sizes[i], table.tensor, range);
          const change = moment && beta !== null
            ? movingMean(partOf(moment.tensor, part), update, halted, { beta })
            : update;
          const attributes = { ...range, weightDecay };
          effects.push(adafactorMove(partOf(weights, part), change, sizes[i], halted, table.tensor, attributes));
        }
        const flatSizes = reshape(sizes[0], [3 * ranges[0].range.count]);
        const rate = reshape(slice(flatSizes, { axis: 0, start: 1, length: 1 }), []);
        return { effects, figures: { learning_rate: rate } };
      },
    };
  },
};

/** As sd-scripts has it: relative steps by default, and wherever `warmup_init` asks for them. */
function isRelative(read: ArgumentReader): boolean {
  const isAsked = read.boolean("relative_step", true);
  return isAsked || read.boolean("warmup_init", false);
}

/** The table of a network's tensors, and how long their means are. */
function layoutOf({ weights: { name }, tensors }: TrainedWeights) {
  const words: number[] = [], rowOffsets: number[] = [], columnOffsets: number[] = [];
  let rowCount = 0, columnCount = 0;
  for (const tensor of tensors) {
    const { matrices, rows, columns } = matricesOf(tensor);
    rowOffsets.push(rowCount);
    columnOffsets.push(columnCount);
    words.push(tensor.offsetElements, tensor.sizeElements, matrices, rows, columns, rowCount, columnCount, 0);
    rowCount += matrices * rows;
    columnCount += matrices * columns;
  }
  const table = new Variable(`${name} table of tensors`, {
    shape: [Math.max(1, tensors.length), factoredWords],
    dtype: "u32",
  });
  /** The tensors of a part, by the table. */
  const rangeOf = ({ start, length }: UpdatePart) => {
    const first = tensors.findIndex(({ offsetElements }) => offsetElements === start);
    const behind = tensors.findIndex(({ offsetElements }) => offsetElements >= start + length);
    const end = behind < 0 ? tensors.length : behind, range: FactoredRange = { first, count: end - first, start };
    const means = (offsets: readonly number[], all: number) => ({
      firstMean: offsets[first],
      meanCount: (offsets[end] ?? all) - offsets[first],
    });
    return { range, rows: means(rowOffsets, rowCount), columns: means(columnOffsets, columnCount) };
  };
  return { table, words: words.length ? words : Array(factoredWords).fill(0), rowCount, columnCount, rangeOf };
}

/**
 * A tensor as matrices over PyTorch's last two axes, in the order in which it lies. A vector has one mean an element, as 1×1 matrices have: that is the mean of
 * its square, unfactored.
 */
function matricesOf({ shape, layout, sizeElements }: TrainedTensor) {
  if (shape.length === 1) return { matrices: sizeElements, rows: 1, columns: 1 };
  const [rows, columns] = shape.slice(-2), matrices = sizeElements / (rows * columns);
  if (matrices > 1 && rows * columns > 1 && layout !== "convolution") {
    throw new TypeError(
      `Cannot use AdaFactor: a tensor of [${shape.join(", ")}] does not lie as a convolution's weight`,
    );
  }
  return { matrices, rows, columns };
}
