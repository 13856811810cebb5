import type { Kernel, KernelTarget } from "../../graph/kernel.ts";
import type { TensorType } from "../../graph/types.ts";
import { siluWgsl } from "./activations.ts";
import {
  figuresOf,
  gradientByNormalized,
  type GroupNormSizes,
  type GroupNormTypes,
  groupPerWorkgroup,
  storedInputs,
  units,
} from "./group_norm.ts";
import { acrossVector, reduction, type ReductionName } from "./reduction.ts";
import { range } from "./register_tile.ts";
import { buffers, Stored } from "./storage.ts";
import { divide, float, modulo, vectorType } from "./wgsl.ts";

/** Numbers of a group that an invocation holds at most, of a GPU's 255 registers. */
const mostNumbers = 168;
/** Sums that an invocation adds up side by side: one alone would wait for each addition. */
const sumsAtOnce = 4;

/**
 * How the registers of one workgroup hold one group of one picture: lane `l` has the channel unit `l % across` of the positions `l / across + turn · stride`, so that what
 * belongs to its channels is loaded once. All loads are on their way before the first is needed. Lanes that are left over do what the last does, uncounted.
 *
 * Null on CPU adapters, whose loads cost more than what is saved, and where the group has too many values.
 */
function holding(sizes: GroupNormSizes, target: KernelTarget, reductions: readonly ReductionName[]) {
  const { width, perGroup: across, perPosition } = units(sizes), { positions, groups } = sizes;
  if (target.cpu) return null;
  const { workgroupSize, functions } = reduction(target, positions * across, reductions);
  const stride = Math.floor(workgroupSize / across), turns = Math.ceil(positions / stride), busy = stride * across;
  if (!(turns * width <= mostNumbers)) return null;
  const { workgroups, slot } = groupPerWorkgroup(sizes, target), hasGap = turns * stride > positions;
  const isLast = (turn: number) => hasGap && turn === turns - 1;
  const isIdle = busy < workgroupSize,
    at = (turn: number) => turn ? `origin + ${turn * stride * perPosition}u` : "origin";
  return {
    width,
    turns: range(turns),
    numbers: turns * width,
    workgroups,
    head: `alias V = ${vectorType("f32", width)};
const COUNT = ${positions * sizes.channels / groups}.0f;
${functions}`,
    main: `@compute @workgroup_size(${workgroupSize})
fn main(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group_at: vec3u) {
  ${slot}
  let place = ${isIdle ? `min(lane, ${busy - 1}u)` : "lane"};
  let unit = ${modulo("slot", groups)} * ${across}u + ${modulo("place", across)};
  let position = ${divide("place", across)};
  let origin = (${divide("slot", groups)} * ${positions}u + position) * ${perPosition}u + unit;
  ${hasGap ? `let has_last = position < ${positions - (turns - 1) * stride}u;` : ""}`,
    /** Where a turn's values lie; where the last turn has none, those of the first. */
    at: (turn: number) => isLast(turn) ? `select(origin, ${at(turn)}, has_last)` : at(turn),
    /** WGSL of a term, one a turn, summed over what the lane holds. */
    total: (term: (turn: number) => string) => {
      const counted = (turn: number) => isLast(turn) ? `select(V(0.0), ${term(turn)}, has_last)` : term(turn);
      const parts = range(Math.min(sumsAtOnce, turns)).map((part) =>
        range(turns).filter((turn) => turn % sumsAtOnce === part).map(counted).join(" + ")
      );
      return `(${parts.join(") + (")})`;
    },
    /** A lane's sum, a vector by name, as one number; 0 if the lane does not count. */
    counted: (name: string) =>
      isIdle ? `select(0.0, ${acrossVector(name, width)}, lane == place)` : acrossVector(name, width),
    /** Statements that write, one a turn, at a place. */
    write: (statement: (turn: number, at: string) => string) => {
      const all = range(turns).map((turn) =>
        isLast(turn) ? `if (has_last) { ${statement(turn, at(turn))} }` : statement(turn, at(turn))
      );
      return isIdle ? `if (lane == place) {\n    ${all.join("\n    ")}\n  }` : all.join("\n  ");
    },
  };
}

/**
 * Mean and 1 / standard deviation of every group, `[batch, groups, 2]`, and the normalized picture if it is wanted, from one reading: a workgroup holds a group in its
 * registers. Null where it cannot.
 *
 * Bindings: x, statistics; or x, statistics, weight, bias, result. The statistics have the same bits either way.
 */
export function heldGroupKernel(
  types: Omit<GroupNormTypes, "dy">,
  output: TensorType | null,
  sizes: GroupNormSizes,
  { epsilon, silu = false }: { readonly epsilon: number; readonly silu?: boolean },
  target: KernelTarget,
): Kernel | null {
  const held = holding(sizes, target, ["reduceSum"]);
  if (!held) return null;
  const { width, turns, workgroups, head, main, at, total, counted, write } = held;
  const { x, weight, bias } = storedInputs(types, width, target), statistics = figuresOf("statistics", target);
  const result = output && new Stored("result", output, width, target);
  if (result && !result.canStore) return null;
  const value = (turn: number) => x.widened(`x_${turn}`);
  const y = (turn: number) => `(${value(turn)} - mean) * slope + shift`;
  return {
    workgroups,
    wgsl: `${result ? buffers([x, statistics, weight, bias], [result], statistics) : buffers([x], [statistics])}
${head}
fn squared(x: V) -> V { return x * x; }
${result && silu ? siluWgsl : ""}

${main}
  ${turns.map((turn) => `let x_${turn} = ${x.kept(at(turn))};`).join("\n  ")}
  let sum = ${total(value)};
  let mean = reduceSum(${counted("sum")}, lane) / COUNT;
  let squares = ${total((turn) => `squared(${value(turn)} - mean)`)};
  let inverse = inverseSqrt(reduceSum(${counted("squares")}, lane) / COUNT + ${float(epsilon)});
  if (lane == 0u) { statistics[slot] = vec2f(mean, inverse); }
${
      result
        ? `  let slope = inverse${weight ? ` * ${weight.load("unit")}` : ""};
  let shift = ${bias ? bias.load("unit") : "V(0.0)"};
  ${write((turn, at) => result.store(at, silu ? `silu(${y(turn)})` : y(turn)))}
`
        : ""
    }}
`,
  };
}

/**
 * Means as `gradientMeansKernel` makes them, and the gradient by x as `gradientKernel` does, from one reading of dy: a workgroup holds of a group dy's way to the
 * normalized value, and, if the registers have room for both, the normalized value; else x is read again. Null where it cannot.
 *
 * Bindings: x, dy, statistics, means, weight, bias, result.
 */
export function heldGradientKernel(
  types: GroupNormTypes,
  output: TensorType,
  sizes: GroupNormSizes,
  silu: boolean,
  target: KernelTarget,
): Kernel | null {
  const held = holding(sizes, target, ["reduceSumPair"]);
  if (!held) return null;
  const { width, turns, numbers, workgroups, head, main, at, total, counted, write } = held;
  const { x, weight, bias } = storedInputs(types, width, target), dy = new Stored("dy", types.dy, width, target);
  const means = figuresOf("means", target), result = new Stored("result", output, width, target);
  if (!result.canStore) return null;
  const normalized = (turn: number) => `(${x.load(at(turn))} - figures.x) * figures.y`;
  const g = (turn: number) => gradientByNormalized(silu, `n_${turn}`, dy.load(at(turn)), weight && "w", bias && "b");
  const n = (turn: number) => 2 * numbers <= mostNumbers ? `n_${turn}` : normalized(turn);
  return {
    workgroups,
    wgsl: `${buffers([x, dy, figuresOf("statistics", target), means, weight, bias], [result], means)}
${head}
${silu ? siluWgsl : ""}

${main}
  let figures = statistics[slot];
  ${weight ? `let w = ${weight.load("unit")};` : ""}
  ${bias && silu ? `let b = ${bias.load("unit")};` : ""}
  ${
      turns.map((turn) =>
        `let n_${turn} = ${normalized(turn)};
  let g_${turn} = ${g(turn)};`
      ).join("\n  ")
    }
  let g_sum = ${total((turn) => `g_${turn}`)};
  let product_sum = ${total((turn) => `g_${turn} * n_${turn}`)};
  let figures_of_g = reduceSumPair(vec2f(${counted("g_sum")}, ${counted("product_sum")}), lane) / COUNT;
  if (lane == 0u) { means[slot] = figures_of_g; }
  ${write((turn, at) => result.store(at, `figures.y * (g_${turn} - figures_of_g.x - ${n(turn)} * figures_of_g.y)`))}
}
`,
  };
}
