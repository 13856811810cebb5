import type { KernelTarget } from "../../graph/kernel.ts";
import { modulo } from "./wgsl.ts";

/** How the invocations of one workgroup add up, or compare, one value each. */
export interface Reduction {
  /** Invocations of the workgroup. */
  readonly workgroupSize: number;
  /**
   * WGSL that every invocation must reach: `reduceSum(value, lane)` and `reduceMax(value, lane)` of f32, `reduceSumPair(value, lane)` of vec2f. All
   * invocations get the result.
   */
  readonly functions: string;
}

const operations = {
  reduceSum: { type: "f32", subgroup: "subgroupAdd(value)", combine: (a: string, b: string) => `${a} + ${b}` },
  reduceSumPair: { type: "vec2f", subgroup: "subgroupAdd(value)", combine: (a: string, b: string) => `${a} + ${b}` },
  reduceMax: { type: "f32", subgroup: "subgroupMax(value)", combine: (a: string, b: string) => `max(${a}, ${b})` },
} as const;

/** Name of a WGSL function of a reduction. */
export type ReductionName = keyof typeof operations;

/**
 * Reductions over a workgroup, always in the same order, so results repeat bit for bit.
 *
 * On a CPU adapter the workgroup is one subgroup, for a barrier costs as much as several loads there; elsewhere it is a tree in workgroup
 * memory.
 *
 * @param wanted How many invocations there is work for.
 * @param names Which functions the kernel calls.
 */
export function reduction(target: KernelTarget, wanted: number, names: readonly ReductionName[]): Reduction {
  if (target.cpu && target.subgroupSize > 0) {
    return {
      workgroupSize: target.subgroupSize,
      functions: names.map((name) =>
        `fn ${name}(value: ${operations[name].type}, lane: u32) -> ${operations[name].type} { return ${
          operations[name].subgroup
        }; }`
      ).join("\n"),
    };
  }
  const workgroupSize = Math.max(32, Math.min(256, target.maxInvocations, 2 ** Math.ceil(Math.log2(wanted))));
  return { workgroupSize, functions: names.map((name) => tree(name, workgroupSize)).join("\n") };
}

/**
 * The same functions for a GPU's workgroup whose invocations work in teams of neighbours, 2ⁿ each: all of a team get the team's result. `lane` is the
 * invocation's place in the workgroup.
 */
export function teamReduction(workgroupSize: number, team: number, names: readonly ReductionName[]): string {
  return names.map((name) => tree(name, workgroupSize, team)).join("\n");
}

function tree(name: ReductionName, workgroupSize: number, team = workgroupSize): string {
  const { type, combine } = operations[name], partial = `${name}Partial`;
  const member = team === workgroupSize ? "lane" : modulo("lane", team);
  const levels: string[] = [];
  for (let half = team / 2; half >= 1; half /= 2) {
    levels.push(
      `  if (${member} < ${half}u) { ${partial}[lane] = ${combine(`${partial}[lane]`, `${partial}[lane + ${half}u]`)}; }
  workgroupBarrier();`,
    );
  }
  return `var<workgroup> ${partial}: array<${type}, ${workgroupSize}>;
fn ${name}(value: ${type}, lane: u32) -> ${type} {
  ${partial}[lane] = value;
  workgroupBarrier();
${levels.join("\n")}
  let result = ${partial}[${team === workgroupSize ? "0" : `lane - ${member}`}];
  workgroupBarrier();
  return result;
}`;
}

/** WGSL that adds up, or compares, the parts of a vector of `width` elements. */
export function acrossVector(vector: string, width: number, name: ReductionName = "reduceSum"): string {
  const parts = ["x", "y", "z", "w"].slice(0, width).map((part) => `${vector}.${part}`);
  if (width === 1) return vector;
  return parts.reduce((a, b) => name === "reduceMax" ? `max(${a}, ${b})` : `${a} + ${b}`);
}
