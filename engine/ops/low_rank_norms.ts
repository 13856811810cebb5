import { defineMultiOp } from "../graph/op.ts";
import { reduction } from "./kernels/reduction.ts";
import { haltedType } from "./kernels/update.ts";
import { binding, float } from "./kernels/wgsl.ts";

/**
 * Fields of a pair's row in the table of low-rank pairs: u32 `[pairs, 8]`, sorted by `down`. A pair is a down projection of `rank` times `inSize` elements, and an
 * up projection that lies as `[outSize, rank]` behind it.
 */
export const lowRankFields = {
  /** Elements of the flat weights where the projections begin. */
  down: 0,
  up: 1,
  rank: 2,
  inSize: 3,
  outSize: 4,
  /** Elements between two ranks of the down projection, and between two of its inputs. */
  rankStride: 5,
  inStride: 6,
} as const;

/** Words of one row of the table. */
export const lowRankWords = 8;

/** Pairs of one dispatch. */
export interface LowRankRange {
  /** Row of the table, and how many rows. */
  readonly first: number;
  readonly count: number;
  /** Element of the flat weights where the window begins. */
  readonly start: number;
}

const { down, up, rank, inSize, outSize, rankStride, inStride } = lowRankFields;

// Two pairs: rank 2, 3 inputs, 2 outputs; and from element 128 on rank 1, 2 inputs, 3 outputs, whose down projection lies as [inputs, rank].
const sampleRange: LowRankRange = { first: 0, count: 2, start: 0 };
const sampleTable = [...[0, 64, 2, 3, 2, 3, 1, 0], ...[128, 192, 1, 2, 3, 1, 1, 0]];
const tableType = { shape: [2, lowRankWords], dtype: "u32" } as const;

function sampleNorms(w: readonly number[], scales: readonly number[]): number[] {
  return [0, 1].map((pair) => {
    const row = sampleTable.slice(8 * pair);
    let squares = 0;
    for (let o = 0; o < row[outSize]; o++) {
      for (let i = 0; i < row[inSize]; i++) {
        let sum = 0;
        for (let r = 0; r < row[rank]; r++) {
          sum += w[row[up] + o * row[rank] + r] * w[row[down] + r * row[rankStride] + i * row[inStride]];
        }
        squares += sum * sum;
      }
    }
    return scales[pair] * Math.sqrt(squares);
  });
}

/**
 * Scales both projections of each pair by `√(limit / norm)` where the Frobenius norm of their scaled product, `scale · ‖up · down‖`, is above the limit; overwrites the
 * window of flat weights that the range's pairs lie in, and the pairs' norms as they were before, `[pairs]` of the whole table. Nothing changes where `halted` is not
 * 0, see `haltUnlessFinite`.
 *
 * The product is never made: `‖up · down‖² = Σ (upᵀ·up) ⊙ (down·downᵀ)`. One workgroup a pair; each invocation takes pairs of ranks.
 *
 * @param scales `[pairs]`, of the whole table.
 */
export const limitLowRankNorms = defineMultiOp<
  readonly ["weights", "norms", "scales", "halted", "table"],
  LowRankRange & { readonly limit: number }
>({
  name: "limit_low_rank_norms",
  inputs: ["weights", "norms", "scales", "halted", "table"],
  overwrites: 2,
  type: ({ weights, norms }) => [weights, norms],
  kernel: ({ attributes: { first, count, start, limit }, target }) => {
    const { workgroupSize, functions } = reduction(target, 256, ["reduceSum"]);
    const across = Math.min(count, target.maxWorkgroupsPerDimension);
    return {
      workgroups: [across, Math.ceil(count / across), 1],
      wgsl: `${binding(0, "weights", "f32", "read_write")}
${binding(1, "norms", "f32", "read_write")}
${binding(2, "scales", "f32", "read")}
${binding(3, "halted", "u32", "read")}
${binding(4, "table", "u32", "read")}
const COUNT = ${count}u;
const FIRST = ${first}u;
const START = ${start}u;
${functions}
fn field(pair: u32, at: u32) -> u32 { return table[pair * ${lowRankWords}u + at]; }

@compute @workgroup_size(${workgroupSize})
fn main(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) at: vec3u) {
  let place = at.x + at.y * ${across}u;
  if (place >= COUNT || halted[0] != 0u) { return; }
  let pair = FIRST + place;
  let down = field(pair, ${down}u) - START;
  let up = field(pair, ${up}u) - START;
  let rank = field(pair, ${rank}u);
  let inputs = field(pair, ${inSize}u);
  let outputs = field(pair, ${outSize}u);
  let across_ranks = field(pair, ${rankStride}u);
  let across_inputs = field(pair, ${inStride}u);
  var squares = 0.0;
  for (var k = lane; k < rank * rank; k += ${workgroupSize}u) {
    let a = k / rank;
    let b = k % rank;
    // Both products are symmetric: what lies above the diagonal counts twice.
    if (a > b) { continue; }
    var below = 0.0;
    for (var i = 0u; i < inputs; i++) {
      below += weights[down + a * across_ranks + i * across_inputs] * weights[down + b * across_ranks + i * across_inputs];
    }
    var above = 0.0;
    for (var o = 0u; o < outputs; o++) { above += weights[up + o * rank + a] * weights[up + o * rank + b]; }
    squares += below * above * select(2.0, 1.0, a == b);
  }
  let norm = scales[pair] * sqrt(max(reduceSum(squares, lane), 0.0));
  // Each invocation changes weights that others have read.
  ${target.cpu ? "" : "storageBarrier();"}
  if (lane == 0u) { norms[pair] = norm; }
  if (norm > ${float(limit)}) {
    let factor = sqrt(${float(limit)} / norm);
    for (var i = lane; i < rank * inputs; i += ${workgroupSize}u) { weights[down + i] *= factor; }
    for (var i = lane; i < rank * outputs; i += ${workgroupSize}u) { weights[up + i] *= factor; }
  }
}
`,
    };
  },
  samples: [0, 1].map((halted) => ({
    inputs: { weights: [256], norms: [2], scales: [2], halted: haltedType, table: tableType },
    values: { scales: [4, 0.125], halted: [halted], table: sampleTable },
    range: [0.5, 1] as const,
    attributes: { ...sampleRange, limit: 1 },
    expect: (w: number[], norms: number[], scales: number[]) => {
      if (halted) return [w, norms];
      const found = sampleNorms(w, scales), limited = [...w];
      for (const [at, size] of [[0, 6], [64, 4]]) {
        for (let i = at; i < at + size; i++) limited[i] = w[i] / Math.sqrt(found[0]);
      }
      return [limited, found];
    },
  })),
});
