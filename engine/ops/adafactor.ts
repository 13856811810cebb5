import { defineOp } from "../graph/op.ts";
import { elementCount } from "../graph/types.ts";
import {
  factoredFields,
  type FactoredRange,
  factoredWords,
  fieldFunction,
  searchFunction,
  updateFunction,
} from "./kernels/factored.ts";
import { reduction } from "./kernels/reduction.ts";
import { haltedType } from "./kernels/update.ts";
import { binding, float, grid } from "./kernels/wgsl.ts";

const { offset, size, matrices, rows, columns, rowOffset, columnOffset } = factoredFields;

// Samples have two tensors: one of 2 rows and 3 columns; and from element 64 on two matrices side by side, of 2 rows and 2 columns each.
const sampleRange: FactoredRange = { first: 0, count: 2, start: 0 };
const sampleTable = [...[0, 6, 1, 2, 3, 0, 0, 0], ...[64, 8, 2, 2, 2, 2, 3, 0]];
const tableType = { shape: [2, factoredWords], dtype: "u32" } as const;
const sampleTensors = [
  { at: 0, group: 1, height: 2, width: 3, row: 0, column: 0 },
  { at: 64, group: 2, height: 2, width: 2, row: 2, column: 3 },
];

/** Constants of Adafactor's means. */
export interface FactoredMeansAttributes extends FactoredRange {
  readonly axis: "rows" | "columns";
  /** Means of the range: the first, and how many. */
  readonly firstMean: number;
  readonly meanCount: number;
  /** At update t the means keep `1 − tᵈ`; d is below 0. */
  readonly decayRate: number;
  /** Added to squared gradients. */
  readonly epsilon: number;
}

/**
 * Adafactor's running means of squared gradients along the rows or columns of a range's tensors, one invocation a mean; overwrites them. `clock` `[1]` is the
 * number of this update, from 1; see `factoredFields` for `table`. Nothing changes where `halted` is not 0.
 *
 * @see Shazeer and Stern 2018, https://arxiv.org/abs/1804.04235
 */
export const adafactorMeans = defineOp<
  readonly ["means", "gradient", "halted", "clock", "table"],
  FactoredMeansAttributes
>({
  name: "adafactor_means",
  inputs: ["means", "gradient", "halted", "clock", "table"],
  overwrites: 1,
  type: ({ means }) => ({ shape: means.shape, dtype: "f32" }),
  kernel: ({ attributes, target }) => {
    const { axis, firstMean, meanCount, decayRate, epsilon, start } = attributes, lines = grid(meanCount, target);
    const isRow = axis === "rows", own = isRow ? rowOffset : columnOffset;
    return {
      workgroups: lines.workgroups,
      wgsl: `${binding(0, "means", "f32", "read_write")}
${binding(1, "gradient", "f32", "read")}
${binding(2, "halted", "u32", "read")}
${binding(3, "clock", "f32", "read")}
${binding(4, "table", "u32", "read")}
const COUNT = ${meanCount}u;
const FIRST = ${firstMean}u;
const START = ${start}u;
${fieldFunction}${searchFunction(attributes)}
${lines.attribute}
fn main(${lines.parameters}) {
  ${lines.index}
  if (i >= COUNT || halted[0] != 0u) { return; }
  let tensor = tensorOf(FIRST + i, ${own}u);
  let place = FIRST + i - field(tensor, ${own}u);
  let group = field(tensor, ${matrices}u);
  let width = field(tensor, ${columns}u);
  let line = place / group;
  // In [rows, columns, matrices] the elements of a row are group apart, those of a column width · group.
  let begin = field(tensor, ${offset}u) - START + line * ${isRow ? "width * group" : "group"} + place % group;
  let stride = ${isRow ? "group" : "width * group"};
  let length = field(tensor, ${isRow ? columns : rows}u);
  var sum = 0.0;
  for (var k = 0u; k < length; k++) {
    let g = gradient[begin + k * stride];
    sum += g * g + ${float(epsilon)};
  }
  let gone = pow(clock[0], ${float(decayRate)});
  means[FIRST + i] = means[FIRST + i] * (1.0 - gone) + sum / f32(length) * gone;
}
`,
    };
  },
  samples: (["rows", "columns"] as const).map((axis) => {
    const meanCount = axis === "rows" ? 6 : 7;
    return {
      inputs: { means: [meanCount], gradient: [72], halted: haltedType, clock: [1], table: tableType },
      values: { halted: [0], clock: [4], table: sampleTable },
      attributes: { ...sampleRange, axis, firstMean: 0, meanCount, decayRate: -0.5, epsilon: 0.25 },
      expect: (means: number[], g: number[]) => {
        const found: number[] = [];
        for (const { at, group, height, width } of sampleTensors) {
          const square = (r: number, c: number, matrix: number) => g[at + (r * width + c) * group + matrix] ** 2 + 0.25;
          const lines = axis === "rows" ? height : width, across = axis === "rows" ? width : height;
          for (let line = 0; line < lines; line++) {
            for (let matrix = 0; matrix < group; matrix++) {
              let sum = 0;
              for (let k = 0; k < across; k++) {
                sum += axis === "rows" ? square(line, k, matrix) : square(k, line, matrix);
              }
              found.push(sum / across);
            }
          }
        }
        return means.map((mean, i) => 0.5 * mean + 0.5 * found[i]);
      },
    };
  }),
});

/** Constants of Adafactor's step sizes. */
export interface FactoredScalesAttributes extends FactoredRange {
  /** Updates with a larger root mean square are scaled down to it. */
  readonly clipThreshold: number;
  /** Multiplies the rate by the parameters' root mean square, or by this where that is smaller; without it the rate counts as it is. */
  readonly leastScale?: number;
  /** In the place of a given rate 1 / √t, but at most `most`, times t with `perUpdate`. */
  readonly relativeStep?: { readonly most: number; readonly perUpdate: boolean };
}

/**
 * Adafactor's figures of each tensor of a range: `[mean of the row means, learning rate, factor of the update]`, one workgroup a tensor.
 *
 * The factor is the rate over `max(1, RMS of the update / clipThreshold)`. The mean is that of the tensor's first matrix.
 *
 * @param rows The row means of the whole network, already of this update; `columns` likewise.
 * @param rate `[1]`; has no meaning with `relativeStep`.
 * @returns `[count, 3]`
 */
export const adafactorScales = defineOp<
  readonly ["parameter", "gradient", "rows", "columns", "rate", "clock", "table"],
  FactoredScalesAttributes
>({
  name: "adafactor_scales",
  inputs: ["parameter", "gradient", "rows", "columns", "rate", "clock", "table"],
  type: (_, { count }) => ({ shape: [count, 3], dtype: "f32" }),
  kernel: ({ attributes, target }) => {
    const { first, count, start, clipThreshold, leastScale, relativeStep } = attributes;
    const names = ["parameter", "gradient", "rows", "columns", "rate", "clock"];
    const { workgroupSize, functions } = reduction(target, 256, ["reduceSum", "reduceSumPair"]);
    const across = Math.min(count, target.maxWorkgroupsPerDimension);
    const rate = relativeStep === undefined
      ? "rate[0]"
      : `min(${float(relativeStep.most)}${relativeStep.perUpdate ? " * clock[0]" : ""}, inverseSqrt(clock[0]))`;
    return {
      workgroups: [across, Math.ceil(count / across), 1],
      wgsl: `${names.map((name, at) => binding(at, name, "f32", "read")).join("\n")}
${binding(names.length, "table", "u32", "read")}
${binding(names.length + 1, "result", "f32", "read_write")}
const COUNT = ${count}u;
const FIRST = ${first}u;
const START = ${start}u;
${fieldFunction}${updateFunction}${functions}

@compute @workgroup_size(${workgroupSize})
fn main(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) at: vec3u) {
  let place = at.x + at.y * ${across}u;
  if (place >= COUNT) { return; }
  let tensor = FIRST + place;
  let begin = field(tensor, ${offset}u) - START;
  let size = field(tensor, ${size}u);
  let first_row = field(tensor, ${rowOffset}u);
  let count = field(tensor, ${rows}u);
  let group = field(tensor, ${matrices}u);
  var row_sum = 0.0;
  for (var r = lane; r < count; r += ${workgroupSize}u) { row_sum += rows[first_row + r * group]; }
  let mean = reduceSum(row_sum, lane) / f32(count);
  var squares = vec2f(0.0);
  for (var e = lane; e < size; e += ${workgroupSize}u) {
    let update = updateOf(tensor, e, gradient[begin + e], mean);
    squares += vec2f(update * update, parameter[begin + e] * parameter[begin + e]);
  }
  let rms = sqrt(reduceSumPair(squares, lane) / f32(size));
  if (lane == 0u) {
    let own_rate = ${rate}${leastScale === undefined ? "" : ` * max(${float(leastScale)}, rms.y)`};
    result[3u * place] = mean;
    result[3u * place + 1u] = own_rate;
    result[3u * place + 2u] = own_rate / max(1.0, rms.x / ${float(clipThreshold)});
  }
}
`,
    };
  },
  samples: [
    {
      inputs: { parameter: [72], gradient: [72], rows: [6], columns: [7], rate: [1], clock: [1], table: tableType },
      values: { rate: [0.5], clock: [4], table: sampleTable },
      range: [0.5, 1],
      attributes: { ...sampleRange, clipThreshold: 0.5, leastScale: 1e-3 },
      expect: (p, g, rowMeans, columnMeans) =>
        sampleUpdates(g, rowMeans, columnMeans).flatMap(({ mean, updates, at }) => {
          const rate = 0.5 * rootMeanSquare(p.slice(at, at + updates.length));
          return [mean, rate, rate / Math.max(1, rootMeanSquare(updates) / 0.5)];
        }),
      extremes: [100],
    },
    {
      inputs: { parameter: [72], gradient: [72], rows: [6], columns: [7], rate: [1], clock: [1], table: tableType },
      values: { rate: [7], clock: [4], table: sampleTable },
      range: [0.5, 1],
      attributes: { ...sampleRange, clipThreshold: 100, relativeStep: { most: 0.01, perUpdate: true } },
      expect: (_, g, rowMeans, columnMeans) =>
        sampleUpdates(g, rowMeans, columnMeans).flatMap(({ mean }) => [mean, 0.04, 0.04]),
      extremes: [100],
    },
  ],
});

/**
 * Adafactor's updates of a range, `factor · g / √(row / mean · column)`; 0 in the padding between tensors. `scales` is what `adafactorScales` gives.
 *
 * @returns Of the gradient's shape.
 */
export const adafactorUpdate = defineOp<readonly ["gradient", "rows", "columns", "scales", "table"], FactoredRange>({
  name: "adafactor_update",
  inputs: ["gradient", "rows", "columns", "scales", "table"],
  type: ({ gradient }) => ({ shape: gradient.shape, dtype: "f32" }),
  kernel: ({ inputs: { gradient }, attributes, target }) => {
    const length = elementCount(gradient.shape), lines = grid(length, target);
    return {
      workgroups: lines.workgroups,
      wgsl: `${["gradient", "rows", "columns", "scales"].map((name, at) => binding(at, name, "f32", "read")).join("\n")}
${binding(4, "table", "u32", "read")}
${binding(5, "result", "f32", "read_write")}
const COUNT = ${length}u;
const FIRST = ${attributes.first}u;
const START = ${attributes.start}u;
${fieldFunction}${searchFunction(attributes)}${updateFunction}
${lines.attribute}
fn main(${lines.parameters}) {
  ${lines.index}
  if (i >= COUNT) { return; }
  let tensor = tensorOf(START + i, ${offset}u);
  let element = START + i - field(tensor, ${offset}u);
  if (element >= field(tensor, ${size}u)) {
    result[i] = 0.0;
    return;
  }
  let place = tensor - FIRST;
  result[i] = updateOf(tensor, element, gradient[i], scales[3u * place]) * scales[3u * place + 2u];
}
`,
    };
  },
  samples: [{
    inputs: { gradient: [72], rows: [6], columns: [7], scales: [2, 3], table: tableType },
    values: { table: sampleTable },
    range: [0.5, 1],
    attributes: sampleRange,
    expect: (g, rowMeans, columnMeans, scales) => {
      const all: number[] = Array(72).fill(0);
      const found = sampleUpdates(g, rowMeans, columnMeans, [scales[0], scales[3]]);
      found.forEach(({ updates, at }, t) => updates.forEach((u, e) => all[at + e] = u * scales[3 * t + 2]));
      return all;
    },
    extremes: [100],
  }],
});

/**
 * Adafactor's move of a range's parameters, `p ← p − decay·rate·p − update`; overwrites them. The rate is the tensor's own, from `scales`. Nothing changes where
 * `halted` is not 0.
 */
export const adafactorMove = defineOp<
  readonly ["parameter", "update", "scales", "halted", "table"],
  FactoredRange & { readonly weightDecay: number }
>({
  name: "adafactor_move",
  inputs: ["parameter", "update", "scales", "halted", "table"],
  overwrites: 1,
  type: ({ parameter }) => ({ shape: parameter.shape, dtype: "f32" }),
  kernel: ({ inputs: { parameter }, attributes, target }) => {
    const length = elementCount(parameter.shape), lines = grid(length, target);
    return {
      workgroups: lines.workgroups,
      wgsl: `${binding(0, "parameter", "f32", "read_write")}
${binding(1, "change", "f32", "read")}
${binding(2, "scales", "f32", "read")}
${binding(3, "halted", "u32", "read")}
${binding(4, "table", "u32", "read")}
const COUNT = ${length}u;
const FIRST = ${attributes.first}u;
const START = ${attributes.start}u;
${fieldFunction}${searchFunction(attributes)}
${lines.attribute}
fn main(${lines.parameters}) {
  ${lines.index}
  if (i >= COUNT || halted[0] != 0u) { return; }
  let rate = scales[3u * (tensorOf(START + i, ${offset}u) - FIRST) + 1u];
  parameter[i] = parameter[i] * (1.0 - rate * ${float(attributes.weightDecay)}) - change[i];
}
`,
    };
  },
  samples: [0, 1].map((halted) => ({
    inputs: { parameter: [72], update: [72], scales: [2, 3], halted: haltedType, table: tableType },
    values: { halted: [halted], table: sampleTable },
    attributes: { ...sampleRange, weightDecay: 0.5 },
    expect: (p: number[], update: number[], scales: number[]) =>
      halted ? p : p.map((x, i) => x * (1 - 0.5 * scales[i < 64 ? 1 : 4]) - update[i]),
  })),
});

/** The updates of the samples' tensors by plain arithmetic, before any factor, with their means or given ones. */
function sampleUpdates(g: number[], rowMeans: number[], columnMeans: number[], means?: readonly number[]) {
  return sampleTensors.map(({ at, group, height, width, row, column }, t) => {
    const meanOf = (matrix: number) => {
      let sum = 0;
      for (let r = 0; r < height; r++) sum += rowMeans[row + r * group + matrix];
      return sum / height;
    };
    const updates = Array.from({ length: height * width * group }, (_, e) => {
      const matrix = e % group, cell = Math.floor(e / group), r = Math.floor(cell / width), c = cell % width;
      // Only a lone matrix takes the mean that is given.
      const mean = means && group === 1 ? means[t] : meanOf(matrix);
      return g[at + e] /
        Math.sqrt(rowMeans[row + r * group + matrix] / mean * columnMeans[column + c * group + matrix]);
    });
    return { at, mean: meanOf(0), updates };
  });
}

function rootMeanSquare(values: readonly number[]): number {
  return Math.sqrt(values.reduce((sum, value) => sum + value * value, 0) / values.length);
}
