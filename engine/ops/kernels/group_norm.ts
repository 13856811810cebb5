import type { Kernel, KernelTarget } from "../../graph/kernel.ts";
import { elementCount, type TensorType } from "../../graph/types.ts";
import { siluWgsl } from "./activations.ts";
import { acrossVector, reduction } from "./reduction.ts";
import { buffers, Stored } from "./storage.ts";
import { divide, float, grid, modulo, vectorType, vectorWidth } from "./wgsl.ts";

/** What the kernels of group normalization are generated from. */
export interface GroupNormSizes {
  readonly batch: number;
  /** Height × width. */
  readonly positions: number;
  readonly channels: number;
  readonly groups: number;
}

/** Sizes of `x`, `[batch, height, width, channels]` or `[batch, positions, channels]`. */
export function groupNormSizes(x: TensorType, groups: number): GroupNormSizes {
  const channels = x.shape[x.shape.length - 1];
  return { batch: x.shape[0], positions: elementCount(x.shape.slice(1, -1)), channels, groups };
}

/** Inputs of the backward kernels: those of the forward, and the output's gradient. */
export interface GroupNormTypes {
  readonly x: TensorType;
  readonly dy: TensorType;
  readonly weight: TensorType | null;
  readonly bias: TensorType | null;
}

/** Channels as vectors: how wide, how many a group has, and how many a position. */
export function units({ channels, groups }: GroupNormSizes) {
  const width = vectorWidth(channels / groups);
  return { width, perGroup: channels / groups / width, perPosition: channels / width };
}

/** Units that one invocation adds up side by side, in registers of their own: CPU adapters take seconds to compile many more. */
const mostSideBySide = 5;

/**
 * How a workgroup walks over one group of one picture: lane `l` takes positions `l / across + k · stride`, and of each the units
 * `l % across + j · across`, unrolled. On a CPU adapter a lane takes a whole position where it can: all lanes are busy, and what
 * belongs to the channels is loaded once. On a GPU neighbouring lanes read neighbouring units, and `mostAhead` of them at once.
 */
function walk(sizes: GroupNormSizes, target: KernelTarget, workgroupSize: number, mostAhead: number) {
  const { perGroup } = units(sizes);
  const divisors = Array.from({ length: perGroup }, (_, i) => i + 1).filter((d) =>
    perGroup % d === 0 && d <= workgroupSize
  );
  const across = target.cpu
    ? divisors.find((d) => perGroup / d <= mostSideBySide) ?? divisors[divisors.length - 1]
    : divisors[divisors.length - 1];
  const stride = 2 ** Math.floor(Math.log2(workgroupSize / across));
  const sideBySide = perGroup / across;
  // A GPU hides the loads' latency behind each other.
  const ahead = target.cpu
    ? 1
    : [16, 8, 4].find((n) => n * sideBySide <= mostAhead && sizes.positions % (n * stride) === 0) ?? 1;
  const places = Array.from({ length: ahead * sideBySide }, (_, i) => ({
    unit: i % sideBySide,
    offset: `${Math.floor(i / sideBySide) * stride}u * PER_POSITION + ${i % sideBySide * across}u`,
  }));
  return {
    across,
    sideBySide,
    /** Accumulators and loads of one turn of the loop: `unit` is the channel unit, `offset` where it lies from `at`. */
    places,
    head: `const POSITIONS = ${sizes.positions}u;
const GROUPS = ${sizes.groups}u;
const PER_GROUP = ${perGroup}u;
const PER_POSITION = ${units(sizes).perPosition}u;
const COUNT = ${sizes.positions * sizes.channels / sizes.groups}.0f;`,
    prologue: `let group = slot % GROUPS;
  let unit = group * PER_GROUP + ${modulo("lane", across)};
  let start = (slot / GROUPS) * (POSITIONS * PER_POSITION) + unit;
  let first = ${
      workgroupSize === stride * across
        ? divide("lane", across)
        : `select(POSITIONS, ${divide("lane", across)}, lane < ${stride * across}u)`
    };`,
    loop: (body: string) =>
      `for (var position = first; position < POSITIONS; position += ${stride * ahead}u) {
    let at = start + position * PER_POSITION;
    ${body}
  }`,
  };
}

/** Workgroups for one group of one picture each, and WGSL of its number, `slot`. */
export function groupPerWorkgroup({ batch, groups }: GroupNormSizes, target: KernelTarget) {
  const count = batch * groups, x = Math.min(count, target.maxWorkgroupsPerDimension);
  return {
    workgroups: [x, Math.ceil(count / x), 1] as const,
    slot: `let slot = group_at.x + group_at.y * ${x}u;
  if (slot >= ${count}u) { return; }`,
  };
}

/** A value for each group of each picture: two figures side by side. */
export const figuresOf = (name: string, target: KernelTarget) => new Stored(name, { dtype: "f32" }, 2, target);

const added = (names: readonly string[]) => names.join(" + ");

/** Mean and 1 / standard deviation of every group, `[batch, groups, 2]`: one workgroup a group, two passes, centred. */
export function statisticsKernel(x: TensorType, sizes: GroupNormSizes, epsilon: number, target: KernelTarget): Kernel {
  const { width } = units(sizes), { workgroups, slot } = groupPerWorkgroup(sizes, target);
  const { workgroupSize, functions } = reduction(target, 256, ["reduceSum"]);
  const { places, head, prologue, loop } = walk(sizes, target, workgroupSize, 16);
  const parts = places.map((_, i) => `sum_${i}`), squares = places.map((_, i) => `squares_${i}`);
  const picture = new Stored("x", x, width, target);
  const load = (i: number) => picture.load(`at + ${places[i].offset}`);
  return {
    workgroups,
    wgsl: `${buffers([picture], [figuresOf("statistics", target)])}
alias V = ${vectorType("f32", width)};
${head}
${functions}

@compute @workgroup_size(${workgroupSize})
fn main(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group_at: vec3u) {
  ${slot}
  ${prologue}
  ${parts.map((name) => `var ${name} = V(0.0);`).join(" ")}
  ${loop(parts.map((name, i) => `${name} += ${load(i)};`).join("\n    "))}
  let sum = ${added(parts)};
  let mean = reduceSum(${acrossVector("sum", width)}, lane) / COUNT;
  ${squares.map((name) => `var ${name} = V(0.0);`).join(" ")}
  ${
      loop(
        places.map((_, i) => `let d_${i} = ${load(i)} - mean; squares_${i} += d_${i} * d_${i};`).join("\n    "),
      )
    }
  let squares = ${added(squares)};
  let variance = reduceSum(${acrossVector("squares", width)}, lane) / COUNT;
  if (lane == 0u) { statistics[slot] = vec2f(mean, inverseSqrt(variance + ${float(epsilon)})); }
}
`,
  };
}

/** WGSL of `g`, the gradient by the normalized value `n` itself: dy through SiLU (if fused) and the weight. */
export function gradientByNormalized(
  silu: boolean,
  n: string,
  dy: string,
  weight: string | null,
  bias: string | null,
): string {
  const affine = `${n}${weight ? ` * ${weight}` : ""}${bias ? ` + ${bias}` : ""}`;
  return `${dy}${silu ? ` * siluSlope(${affine})` : ""}${weight ? ` * ${weight}` : ""}`;
}

/** Mean of g and of g·n over every group, `[batch, groups, 2]`, for the gradient by x. */
export function gradientMeansKernel(
  types: GroupNormTypes & { statistics: TensorType },
  sizes: GroupNormSizes,
  silu: boolean,
  target: KernelTarget,
): Kernel {
  const { weight, bias } = types;
  const { width } = units(sizes), { workgroups, slot } = groupPerWorkgroup(sizes, target);
  const { workgroupSize, functions } = reduction(target, 256, ["reduceSumPair"]);
  const { across, sideBySide, places, head, prologue, loop } = walk(sizes, target, workgroupSize, 4);
  const stored = storedInputs(types, width, target), dy = new Stored("dy", types.dy, width, target);
  const each = (of: Stored) =>
    Array.from({ length: sideBySide }, (_, j) => `let ${of.name}_${j} = ${of.load(`unit + ${j * across}u`)};`)
      .join("\n  ");
  return {
    workgroups,
    wgsl: `${
      buffers([stored.x, dy, figuresOf("statistics", target), stored.weight, stored.bias], [
        figuresOf("means", target),
      ])
    }
alias V = ${vectorType("f32", width)};
${head}
${silu ? siluWgsl : ""}
${functions}

@compute @workgroup_size(${workgroupSize})
fn main(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group_at: vec3u) {
  ${slot}
  ${prologue}
  let figures = statistics[slot];
  ${stored.weight ? each(stored.weight) : ""}
  ${stored.bias && silu ? each(stored.bias) : ""}
  ${places.map((_, i) => `var g_sum_${i} = V(0.0); var product_sum_${i} = V(0.0);`).join("\n  ")}
  ${
      loop(
        places.map(({ unit, offset }, i) =>
          `let n_${i} = (${stored.x.load(`at + ${offset}`)} - figures.x) * figures.y;
    let g_${i} = ${
            gradientByNormalized(
              silu,
              `n_${i}`,
              dy.load(`at + ${offset}`),
              weight && `weight_${unit}`,
              bias && `bias_${unit}`,
            )
          };
    g_sum_${i} += g_${i};
    product_sum_${i} += g_${i} * n_${i};`
        ).join("\n    "),
      )
    }
  let g_sum = ${added(places.map((_, i) => `g_sum_${i}`))};
  let product_sum = ${added(places.map((_, i) => `product_sum_${i}`))};
  let sums = reduceSumPair(vec2f(${acrossVector("g_sum", width)}, ${acrossVector("product_sum", width)}), lane);
  if (lane == 0u) { means[slot] = sums / COUNT; }
}
`,
  };
}

/** The inputs that forward and backward kernels share, as they are bound. */
export function storedInputs({ x, weight, bias }: Omit<GroupNormTypes, "dy">, width: 1 | 2 | 4, target: KernelTarget) {
  return {
    x: new Stored("x", x, width, target),
    weight: weight && new Stored("weight", weight, width, target),
    bias: bias && new Stored("bias", bias, width, target),
  };
}

/** Positions that one invocation of a writing kernel takes in turn, loading what belongs to its channels once. */
function positionsInTurn({ batch, positions }: GroupNormSizes, perPosition: number): number {
  return [4, 2].find((n) => positions % n === 0 && batch * positions * perPosition / n >= 1024) ?? 1;
}

/** Vectors of a writing kernel: as wide as all channels allow, for their parts may lie in several groups. */
function columns(sizes: GroupNormSizes, target: KernelTarget) {
  const { batch, positions, channels, groups } = sizes;
  const width = vectorWidth(channels), perPosition = channels / width, perGroup = channels / groups;
  const turns = positionsInTurn(sizes, perPosition), chunks = positions / turns;
  const count = batch * chunks * perPosition, lines = grid(count, target);
  const oneGroup = perGroup % width === 0;
  const slotOf = (part: number) =>
    `first_slot + ${
      oneGroup
        ? divide("unit", perGroup / width, perPosition)
        : divide(`(unit * ${width}u + ${part}u)`, perGroup, channels)
    }`;
  return {
    width,
    workgroups: lines.workgroups,
    turns: Array.from({ length: turns }, (_, turn) => turn),
    /** Declares vectors of both figures of each channel's group. */
    figures: (from: string, [a, b]: readonly [string, string]) => {
      const parts = Array.from({ length: oneGroup ? 1 : width }, (_, part) => part);
      const loads = parts.map((part) => `let ${from}_${part} = ${from}[${slotOf(part)}];`).join(" ");
      return `${loads}
  let ${a} = V(${parts.map((part) => `${from}_${part}.x`).join(", ")});
  let ${b} = V(${parts.map((part) => `${from}_${part}.y`).join(", ")});`;
    },
    head: `const COUNT = ${count}u;
const PER_POSITION = ${perPosition}u;`,
    main: `${lines.attribute}
fn main(${lines.parameters}) {
  ${lines.index}
  if (i >= COUNT) { return; }
  let unit = ${modulo("i", perPosition, count)};
  let chunk = ${divide("i", perPosition, count)};
  let first_slot = ${divide("chunk", chunks, batch * chunks)} * ${groups}u;
  let origin = chunk * (${turns}u * PER_POSITION) + unit;`,
  };
}

/** `n·weight + bias` with n = (x − mean)·inverse, and SiLU behind it: one invocation takes a few channels of a few positions. */
export function applyKernel(
  types: Omit<GroupNormTypes, "dy">,
  output: TensorType,
  sizes: GroupNormSizes,
  silu: boolean,
  target: KernelTarget,
): Kernel {
  const { width, workgroups, turns, figures, head, main } = columns(sizes, target);
  const { x, weight, bias } = storedInputs(types, width, target);
  const result = new Stored("result", output, width, target);
  return {
    workgroups,
    wgsl: `${buffers([x, figuresOf("statistics", target), weight, bias], [result])}
alias V = ${vectorType("f32", width)};
${head}
${silu ? siluWgsl : ""}
${main}
  ${figures("statistics", ["mean", "inverse"])}
  let slope = inverse${weight ? ` * ${weight.load("unit")}` : ""};
  let shift = ${bias ? bias.load("unit") : "V(0.0)"};
${
      turns.map((turn) => {
        const place = `origin + ${turn}u * PER_POSITION`, y = `(${x.load(place)} - mean) * slope + shift`;
        return `  ${result.store(place, silu ? `silu(${y})` : y)}`;
      }).join("\n")
    }
}
`,
  };
}

/** `dx = inverse·(g − mean(g) − n·mean(g·n))`, laid out as `applyKernel`. */
export function gradientKernel(
  types: GroupNormTypes,
  output: TensorType,
  sizes: GroupNormSizes,
  silu: boolean,
  target: KernelTarget,
): Kernel {
  const { width, workgroups, turns, figures, head, main } = columns(sizes, target);
  const { x, weight, bias } = storedInputs(types, width, target), dy = new Stored("dy", types.dy, width, target);
  const result = new Stored("result", output, width, target);
  return {
    workgroups,
    wgsl: `${buffers([x, dy, figuresOf("statistics", target), figuresOf("means", target), weight, bias], [result])}
alias V = ${vectorType("f32", width)};
${head}
${silu ? siluWgsl : ""}
${main}
  ${figures("statistics", ["mean", "inverse"])}
  ${figures("means", ["mean_g", "mean_product"])}
  ${weight ? `let w = ${weight.load("unit")};` : ""}
  ${bias && silu ? `let b = ${bias.load("unit")};` : ""}
${
      turns.map((turn) => {
        const place = `origin + ${turn}u * PER_POSITION`;
        const g = gradientByNormalized(silu, `n_${turn}`, dy.load(place), weight && "w", bias && "b");
        return `  let n_${turn} = (${x.load(place)} - mean) * inverse;
  ${result.store(place, `inverse * (${g} - mean_g - n_${turn} * mean_product)`)}`;
      }).join("\n")
    }
}
`,
  };
}
