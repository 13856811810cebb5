import type { KernelTarget } from "../graph/kernel.ts";
import { defineMultiOp, defineOp } from "../graph/op.ts";
import { reduction } from "./kernels/reduction.ts";
import { haltedType, logBase, oneMinusPower } from "./kernels/update.ts";
import { binding, float } from "./kernels/wgsl.ts";

/** Constants of 8-bit AdamW. */
export interface AdamW8bitAttributes {
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  readonly weightDecay: number;
}

/** The numbers of an 8-bit AdamW step, by places in what `adamw8bitSizes` gives. */
const sizes = { rate: 0, size: 1, epsilon: 2, changes: 3 } as const;

/**
 * The numbers of a step of 8-bit AdamW: `[learning rate, rate·√(1 − β₂ᵗ) / (1 − β₁ᵗ), ε·√(1 − β₂ᵗ), 1]`, the last one 0 where `halted` is not 0. `clock` `[1]` is
 * t, from 1.
 */
export const adamw8bitSizes = defineOp<readonly ["rate", "clock", "halted"], AdamW8bitAttributes>({
  name: "adamw_8bit_sizes",
  inputs: ["rate", "clock", "halted"],
  type: () => ({ shape: [4], dtype: "f32" }),
  kernel: ({ attributes: { beta1, beta2, epsilon } }) => ({
    workgroups: [1, 1, 1],
    wgsl: `${binding(0, "rate", "f32", "read")}
${binding(1, "clock", "f32", "read")}
${binding(2, "halted", "u32", "read")}
${binding(3, "result", "f32", "read_write")}
${oneMinusPower}
@compute @workgroup_size(1)
fn main() {
  let second = sqrt(oneMinusPower(clock[0], ${logBase(beta2)}));
  result[${sizes.rate}] = rate[0];
  result[${sizes.size}] = rate[0] * second / oneMinusPower(clock[0], ${logBase(beta1)});
  result[${sizes.epsilon}] = second * ${float(epsilon)};
  result[${sizes.changes}] = select(0.0, 1.0, halted[0] == 0u);
}
`,
  }),
  samples: [0, 1].map((halted) => ({
    inputs: { rate: [1], clock: [1], halted: haltedType },
    values: { clock: [3], halted: [halted] },
    attributes: { beta1: 0.9, beta2: 0.99, epsilon: 0.5, weightDecay: 0.1 },
    expect: ([rate]: number[]) => {
      const second = Math.sqrt(1 - 0.99 ** 3);
      return [rate, rate * second / (1 - 0.9 ** 3), 0.5 * second, 1 - halted];
    },
  })),
});

// Samples have two tensors of 6 elements: one that lies as PyTorch has it; and from element 64 on one of [3, 1, 2] that lies as [2, 1, 3].
const sampleBlocks = [{ places: [0, 1, 2, 3, 4, 5] }, { places: [64, 67, 65, 68, 66, 69] }];
const sampleRange: BlockRange = { first: 0, count: 2, start: 0 };
const sampleConstants: AdamW8bitAttributes = { beta1: 0.75, beta2: 0.5, epsilon: 1e-3, weightDecay: 0.125 };
const sampleTableType = { shape: [2, 8], dtype: "u32" } as const;
const sampleTable = (stateOfBlock: number) => [...[0, 0, 6, 0, 1, 6, 1, 0], ...[64, 0, 6, stateOfBlock, 2, 1, 3, 0]];
const sampleCodes = [0x10f08040, 0x7f, 0xff00c0a0, 0x33, 0x10204080, 0xff, 0x01a0b0c0, 0x77];
// Evenly spread, so that the nearest value is easy to find; the least of the first half is no 0, as in the real map.
const sampleMaps = [
  ...Array.from({ length: 256 }, (_, k) => (k - 127.5) / 127.5),
  ...Array.from({ length: 256 }, (_, k) => k / 255),
];

/** Words of a block's row in the table: u32 `[blocks, 8]`. */
export const blockWords = 8;

/**
 * Fields of a block's row: a tensor's first element in the window, the block's first element in PyTorch's order and how many it has, where its state begins, and
 * the tensor's layout: it lies as `[area, in, out]`, and counts as `[out, in, area]`.
 */
export const blockFields = { tensor: 0, first: 1, length: 2, state: 3, area: 4, inSize: 5, outSize: 6 } as const;

/** Blocks of one dispatch: rows of the table. */
export interface BlockRange {
  readonly first: number;
  readonly count: number;
  /** Element of the flat weights where the windows begin. */
  readonly start: number;
}

/** One workgroup a block of the table: what both kernels have in common. */
function blockKernel(
  target: KernelTarget,
  { first, count, start }: BlockRange,
  { declarations, functions, wanted, reductions, body }: {
    readonly declarations: string;
    readonly functions: string;
    readonly wanted: number;
    readonly reductions: readonly "reduceMax"[];
    readonly body: (workgroupSize: number) => string;
  },
) {
  const { workgroupSize, functions: reducing } = reduction(target, wanted, reductions);
  const across = Math.min(count, target.maxWorkgroupsPerDimension);
  return {
    workgroups: [across, Math.ceil(count / across), 1] as const,
    wgsl: `${declarations}
const COUNT = ${count}u;
const FIRST = ${first}u;
const START = ${start}u;
${reducing}
fn field(block: u32, at: u32) -> u32 { return table[block * ${blockWords}u + at]; }

// Where element j of a tensor, in PyTorch's order, lies in the window.
fn placeOf(block: u32, j: u32) -> u32 {
  let begin = field(block, ${blockFields.tensor}u) - START;
  let area = field(block, ${blockFields.area}u);
  if (area == 1u) { return begin + j; }
  let inputs = field(block, ${blockFields.inSize}u);
  let rest = j % (inputs * area);
  return begin + ((rest % area) * inputs + rest / area) * field(block, ${blockFields.outSize}u) + j / (inputs * area);
}
${functions}

@compute @workgroup_size(${workgroupSize})
fn main(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) at: vec3u) {
  let place = at.x + at.y * ${across}u;
  if (place >= COUNT || step[${sizes.changes}] == 0.0) { return; }
  let block = FIRST + place;
  let first = field(block, ${blockFields.first}u);
  let length = field(block, ${blockFields.length}u);
  let state = field(block, ${blockFields.state}u);
${body(workgroupSize)}
}
`,
  };
}

/** WGSL of the moments and the move, in bitsandbytes' order: decay comes after the move. */
const stepFunctions = ({ beta1, beta2, weightDecay }: AdamW8bitAttributes) => `
fn momentsOf(m: f32, v: f32, g: f32) -> vec2f {
  return vec2f(m * ${float(beta1)} + g * ${float(1 - beta1)}, v * ${float(beta2)} + g * g * ${float(1 - beta2)});
}
fn moved(p: f32, moments: vec2f) -> f32 {
  let next = p - step[${sizes.size}] * (moments.x / (sqrt(moments.y) + step[${sizes.epsilon}]));
  return next * (1.0 - step[${sizes.rate}] * ${float(weightDecay)});
}`;

/**
 * One step of AdamW whose moments are kept in 8 bits, blockwise as bitsandbytes 0.35 has it; overwrites the parameter window, codes and largest magnitudes.
 *
 * `codes` u32 has four codes a word, the first moment's in its first half and the second's behind; a block's begin at a word. `largest` f32 `[2 · blocks]` has
 * the largest magnitude of each block's moments likewise. `maps` f32 `[512]` are the 256 sorted values that codes of the first moment stand for, then those of
 * the second. The move uses the new moments before they are rounded. `step` is what `adamw8bitSizes` gives.
 *
 * A moment that is not 0 never takes a code of the other sign, or 0 from below: it takes the next one.
 *
 * @see Dettmers et al. 2022, https://arxiv.org/abs/2110.02861
 */
export const adamw8bitStep = defineMultiOp<
  readonly ["parameter", "codes", "largest", "gradient", "step", "maps", "table"],
  AdamW8bitAttributes & BlockRange
>({
  name: "adamw_8bit_step",
  inputs: ["parameter", "codes", "largest", "gradient", "step", "maps", "table"],
  overwrites: 3,
  type: ({ parameter, codes, largest }) => [parameter, codes, largest],
  kernel: ({ inputs: { codes, largest }, attributes, target }) => {
    const words = codes.shape[0] / 2, blocks = largest.shape[0] / 2;
    const names = ["parameter", "codes", "largest", "gradient", "step", "maps", "table"];
    const declarations = names.map((name, at) =>
      binding(at, name, name === "codes" || name === "table" ? "u32" : "f32", at < 3 ? "read_write" : "read")
    ).join("\n");
    const functions = `${stepFunctions(attributes)}
const WORDS = ${words}u;
const BLOCKS = ${blocks}u;

// The nearest value's place among the 256 from \`map\` on.
fn nearest(map: u32, x: f32) -> u32 {
  var low = 0u;
  var high = 255u;
  while (low < high) {
    let middle = (low + high) / 2u;
    if ((maps[map + middle] + maps[map + middle + 1u]) * 0.5 <= x) { low = middle + 1u; } else { high = middle; }
  }
  return low;
}
fn signedCode(x: f32) -> u32 {
  let code = nearest(0u, x);
  if (x < 0.0 && maps[code] >= 0.0) { return code - 1u; }
  if (x > 0.0 && maps[code] < 0.0) { return code + 1u; }
  return code;
}
fn momentsAt(word: u32, k: u32, old: vec2f, g: f32) -> vec2f {
  let shift = 8u * k;
  let m = maps[(codes[word] >> shift) & 255u] * old.x;
  let v = maps[256u + ((codes[WORDS + word] >> shift) & 255u)] * old.y;
  return momentsOf(m, v, g);
}`;
    return blockKernel(target, attributes, {
      declarations,
      functions,
      wanted: 256,
      reductions: ["reduceMax"],
      body: (workgroupSize) => `
  let old = vec2f(largest[block], largest[BLOCKS + block]);
  var most = vec2f(0.0);
  for (var w = lane; 4u * w < length; w += ${workgroupSize}u) {
    for (var k = 0u; k < 4u && 4u * w + k < length; k++) {
      let moments = momentsAt(state + w, k, old, gradient[placeOf(block, first + 4u * w + k)]);
      most = max(most, abs(moments));
    }
  }
  let scale = vec2f(reduceMax(most.x, lane), reduceMax(most.y, lane));
  let inverse = select(1.0 / scale, vec2f(0.0), scale == vec2f(0.0));
  for (var w = lane; 4u * w < length; w += ${workgroupSize}u) {
    var packed = vec2u(0u);
    for (var k = 0u; k < 4u && 4u * w + k < length; k++) {
      let e = placeOf(block, first + 4u * w + k);
      let moments = momentsAt(state + w, k, old, gradient[e]);
      parameter[e] = moved(parameter[e], moments);
      packed |= vec2u(signedCode(moments.x * inverse.x), nearest(256u, moments.y * inverse.y)) << vec2u(8u * k);
    }
    codes[state + w] = packed.x;
    codes[WORDS + state + w] = packed.y;
  }
  // All have read what one changes.
  ${target.cpu ? "" : "storageBarrier();"}
  if (lane == 0u) {
    largest[block] = scale.x;
    largest[BLOCKS + block] = scale.y;
  }`,
    });
  },
  samples: [0, 1].map((halted) => ({
    inputs: {
      parameter: [72],
      codes: { shape: [8], dtype: "u32" as const },
      largest: [4],
      gradient: [72],
      step: [4],
      maps: [512],
      table: sampleTableType,
    },
    values: {
      codes: sampleCodes,
      largest: [2, 0.5, 1, 0.25],
      step: [0.5, 0.25, 1e-3, 1 - halted],
      maps: sampleMaps,
      table: sampleTable(2),
    },
    attributes: { ...sampleConstants, ...sampleRange },
    expect: (p: number[], codes: number[], largest: number[], g: number[], step: number[]) => {
      if (halted) return [p, codes, largest];
      const after = [...p], packed: number[] = Array(8).fill(0), most: number[] = [];
      sampleBlocks.forEach(({ places }, block) => {
        const moments = places.map((e, j) => {
          const code = (half: number) => (codes[half * 4 + 2 * block + (j >> 2)] >>> (8 * (j & 3))) & 255;
          const m = sampleMaps[code(0)] * largest[block], v = sampleMaps[256 + code(1)] * largest[2 + block];
          return [0.75 * m + 0.25 * g[e], 0.5 * v + 0.5 * g[e] ** 2];
        });
        [most[block], most[2 + block]] = [0, 1].map((half) => Math.max(...moments.map((each) => Math.abs(each[half]))));
        places.forEach((e, j) => {
          const [m, v] = moments[j];
          after[e] = (p[e] - step[1] * m / (Math.sqrt(v) + step[2])) * (1 - step[0] * 0.125);
          const nearest = (half: number, x: number) => {
            const distances = sampleMaps.slice(256 * half, 256 * half + 256).map((value) => Math.abs(value - x));
            return distances.indexOf(Math.min(...distances));
          };
          [m / most[block], v / most[2 + block]].forEach((x, half) => {
            packed[half * 4 + 2 * block + (j >> 2)] += nearest(half, x) * 2 ** (8 * (j & 3));
          });
        });
      });
      return [after, packed, most];
    },
  })),
});

/**
 * The same step for tensors that are too small for 8 bits: their moments are f32. Overwrites the parameter window and `moments` f32, the first moments in its first
 * half and the second behind, in PyTorch's order.
 */
export const adamw8bitSmallStep = defineMultiOp<
  readonly ["parameter", "moments", "gradient", "step", "table"],
  AdamW8bitAttributes & BlockRange
>({
  name: "adamw_8bit_small_step",
  inputs: ["parameter", "moments", "gradient", "step", "table"],
  overwrites: 2,
  type: ({ parameter, moments }) => [parameter, moments],
  kernel: ({ inputs: { moments }, attributes, target }) => {
    const names = ["parameter", "moments", "gradient", "step", "table"];
    const declarations = names.map((name, at) =>
      binding(at, name, name === "table" ? "u32" : "f32", at < 2 ? "read_write" : "read")
    ).join("\n");
    return blockKernel(target, attributes, {
      declarations,
      functions: `${stepFunctions(attributes)}
const HALF = ${moments.shape[0] / 2}u;`,
      wanted: 256,
      reductions: [],
      body: (workgroupSize) => `
  for (var j = lane; j < length; j += ${workgroupSize}u) {
    let e = placeOf(block, first + j);
    let next = momentsOf(moments[state + j], moments[HALF + state + j], gradient[e]);
    moments[state + j] = next.x;
    moments[HALF + state + j] = next.y;
    parameter[e] = moved(parameter[e], next);
  }`,
    });
  },
  samples: [0, 1].map((halted) => ({
    inputs: { parameter: [72], moments: [24], gradient: [72], step: [4], table: sampleTableType },
    values: { step: [0.5, 0.25, 1e-3, 1 - halted], table: sampleTable(6) },
    range: [0.5, 1] as const,
    attributes: { ...sampleConstants, ...sampleRange },
    expect: (p: number[], moments: number[], g: number[], step: number[]) => {
      if (halted) return [p, moments];
      const after = [...p], next = [...moments];
      sampleBlocks.forEach(({ places }, block) =>
        places.forEach((e, j) => {
          const m = next[6 * block + j] = 0.75 * moments[6 * block + j] + 0.25 * g[e];
          const v = next[12 + 6 * block + j] = 0.5 * moments[12 + 6 * block + j] + 0.5 * g[e] ** 2;
          after[e] = (p[e] - step[1] * m / (Math.sqrt(v) + step[2])) * (1 - step[0] * 0.125);
        })
      );
      return [after, next];
    },
  })),
});
