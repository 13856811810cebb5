import type { Kernel, KernelTarget } from "../../graph/kernel.ts";
import { elementCount, type TensorType } from "../../graph/types.ts";
import { acrossVector, reduction, teamReduction } from "./reduction.ts";
import { buffers, Stored } from "./storage.ts";
import { divide, modulo, vectorType, vectorWidth } from "./wgsl.ts";

/** WGSL for the elements of one row; each method gives statements. Terms are expressions over the inputs' names, as f32 vectors `V`. */
export interface RowWriter {
  /** Declares f32 `name`: the sum of a term over the row. */
  sum(name: string, term: string): string;
  /** Declares two sums at once. */
  sums(names: readonly [string, string], terms: readonly [string, string]): string;
  /** Declares f32 `name`: the largest value of a term in the row. */
  max(name: string, term: string): string;
  /** Writes the row of the result. */
  write(value: string): string;
}

/** What a row kernel reads. */
export interface RowInputs {
  readonly target: KernelTarget;
  /** Inputs of the result's shape, by name, in the order of the bindings. */
  readonly rows: Readonly<Record<string, TensorType>>;
  /** Inputs with one value for each place in a row, bound after those. */
  readonly columns?: Readonly<Record<string, TensorType | null>>;
  /** What is written, of the rows' shape. */
  readonly output: TensorType;
}

/**
 * Shape rule of an op that maps rows (the last axis) to rows of the same size.
 *
 * @throws {TypeError} If there is no axis.
 */
export function rowType({ x: { shape } }: { readonly x: TensorType }): TensorType {
  if (!shape.length) throw new TypeError("x is a scalar, wanted [..., c]");
  return { shape, dtype: "f32" };
}

/**
 * Vectors of a row that an invocation keeps in registers; longer rows are read again for each pass. CPU adapters take seconds to compile
 * many more loads.
 */
const mostInRegisters = 8;

/** A GPU's workgroup has so many invocations at least, more where rows are left for so many workgroups: two for each processor of a large card. */
const fewestInvocations = 64, enoughWorkgroups = 256, mostInvocations = 256;

const reductions = ["reduceSum", "reduceSumPair", "reduceMax"] as const;

/** Who works on which rows. */
interface RowTeams {
  readonly workgroupSize: number;
  /** Invocations that share a row. */
  readonly team: number;
  readonly rowsPerGroup: number;
  /** WGSL of the reductions over a row. */
  readonly functions: string;
}

/**
 * On a CPU adapter a workgroup is one subgroup, takes several rows in turn, and loads what belongs to the columns once. On a GPU a row's team is as small as its
 * registers allow, and a workgroup has several teams: all of a row is on its way at once, and as many rows as there are teams share each barrier.
 */
function rowTeams(count: number, units: number, target: KernelTarget): RowTeams {
  if (target.cpu) {
    const { workgroupSize, functions } = reduction(target, units, reductions);
    const rowsPerGroup = Math.max(1, Math.min(16, Math.floor(count / 32)));
    return { workgroupSize, team: workgroupSize, rowsPerGroup, functions };
  }
  const most = Math.min(mostInvocations, target.maxInvocations);
  const team = Math.min(most, 2 ** Math.ceil(Math.log2(Math.max(1, units / mostInRegisters))));
  const fewest = Math.max(1, fewestInvocations / team),
    wanted = 2 ** Math.floor(Math.log2(Math.max(1, count / enoughWorkgroups)));
  const rowsPerGroup = Math.min(most / team, Math.max(fewest, wanted));
  const workgroupSize = team * rowsPerGroup;
  return { workgroupSize, team, rowsPerGroup, functions: teamReduction(workgroupSize, team, reductions) };
}

/**
 * Kernel of an op that maps rows (the last axis) to rows with sums over each: rows in registers, as far as these hold them.
 */
export function rowKernel(
  { target, rows, columns = {}, output }: RowInputs,
  body: (row: RowWriter) => string[],
): Kernel {
  const [first] = Object.values(rows), size = first.shape[first.shape.length - 1];
  const count = elementCount(first.shape) / size, width = vectorWidth(size), units = size / width;
  const perColumn = Object.entries(columns).filter((entry): entry is [string, TensorType] => entry[1] !== null);
  const { workgroupSize, team, rowsPerGroup, functions } = rowTeams(count, units, target);
  const groups = Math.ceil(count / rowsPerGroup);
  const groupsAcross = Math.min(groups, target.maxWorkgroupsPerDimension);
  const bound = [...Object.entries(rows), ...perColumn].map(([name, type]) => ({
    name,
    stored: new Stored(`${name}_in`, type, width, target),
  }));
  const result = new Stored("result", output, width, target);
  const read = (name: string, at: string) => `V(${bound.find((each) => each.name === name)!.stored.load(at)})`;
  const self = target.cpu ? "lane" : "local";
  const turns = Math.ceil(units / team), inRegisters = turns <= mostInRegisters;

  const unit = (turn: number) => turn ? `lane + ${turn * team}u` : "lane";
  const guarded = (turn: number, statement: string) =>
    (turn + 1) * team <= units ? statement : `if (${unit(turn)} < UNITS) { ${statement} }`;
  const safe = (turn: number) => (turn + 1) * team <= units ? unit(turn) : `min(${unit(turn)}, UNITS - 1u)`;
  const load = (turn: number, names: readonly string[], at: string, from = "") =>
    names.map((name) => `let ${name}_${turn} = ${read(name, from + at)};`).join("\n  ");
  const named = (expression: string, turn: number | null) =>
    [...Object.keys(rows), ...perColumn.map(([name]) => name)].reduce(
      (text, name) => text.replaceAll(new RegExp(`\\b${name}\\b`, "g"), turn === null ? name : `${name}_${turn}`),
      expression,
    );
  // Each pass over a row: from registers, or, for rows too long for them, from memory once more.
  const pass = (statement: (expression: (term: string) => string, at: string) => string): string => {
    if (inRegisters) {
      return Array.from(
        { length: turns },
        (_, turn) => guarded(turn, statement((term) => named(term, turn), unit(turn))),
      ).join("\n    ");
    }
    return `for (var unit = lane; unit < UNITS; unit += ${team}u) {
      ${Object.keys(rows).map((name) => `let ${name} = ${read(name, "start + unit")};`).join(" ")}
      ${perColumn.map(([name]) => `let ${name} = ${read(name, "unit")};`).join(" ")}
      ${statement((term) => term, "unit")}
    }`;
  };
  const total = (name: string, term: string, initial: string, step: (a: string, b: string) => string) =>
    `var ${name}_parts = V(${initial});
    ${pass((expression) => `${name}_parts = ${step(`${name}_parts`, expression(term))};`)}`;
  const plus = (a: string, b: string) => `${a} + (${b})`;
  const across = (name: string) => acrossVector(`${name}_parts`, width);
  const writer: RowWriter = {
    sum: (name, term) =>
      `${total(name, term, "0.0", plus)}
    let ${name} = reduceSum(${across(name)}, ${self});`,
    sums: ([a, b], [termA, termB]) =>
      `var ${a}_parts = V(0.0);
    var ${b}_parts = V(0.0);
    ${
        pass((expression) =>
          `${a}_parts = ${plus(`${a}_parts`, expression(termA))}; ${b}_parts = ${
            plus(`${b}_parts`, expression(termB))
          };`
        )
      }
    let ${a}_${b} = reduceSumPair(vec2f(${across(a)}, ${across(b)}), ${self});
    let ${a} = ${a}_${b}.x;
    let ${b} = ${a}_${b}.y;`,
    max: (name, term) =>
      `${total(name, term, "-3.4e38", (a, b) => `max(${a}, ${b})`)}
    let ${name} = reduceMax(${acrossVector(`${name}_parts`, width, "reduceMax")}, ${self});`,
    write: (value) => {
      const written = pass((expression, at) => result.store(`start + ${at}`, expression(value)));
      return target.cpu || count % rowsPerGroup === 0 ? written : `if (row < ROWS) { ${written} }`;
    },
  };
  const registers = (names: readonly string[], from: string) =>
    inRegisters ? Array.from({ length: turns }, (_, turn) => load(turn, names, safe(turn), from)).join("\n  ") : "";
  const columnLoads = registers(perColumn.map(([name]) => name), ""),
    rowLoads = registers(Object.keys(rows), "start + ");
  const inTurn = `  ${columnLoads}
  for (var row = first; row < min(first + ROWS_PER_GROUP, ROWS); row++) {
    let start = row * UNITS;
    ${rowLoads}
    ${body(writer).join("\n    ")}
  }`;
  // Who has no row works on the last one and writes nothing, for all must meet at the barriers.
  const byTeams = `  let lane = ${modulo("local", team)};
  let row = first + ${divide("local", team)};
  let start = min(row, ROWS - 1u) * UNITS;
  ${rowLoads}
  ${columnLoads}
    ${body(writer).join("\n    ")}`;
  return {
    workgroups: [groupsAcross, Math.ceil(groups / groupsAcross), 1],
    wgsl: `${buffers(bound.map(({ stored }) => stored), [result])}
alias V = ${vectorType("f32", width)};
const ROWS = ${count}u;
const SIZE = ${size}.0f;
const UNITS = ${units}u;
const ROWS_PER_GROUP = ${rowsPerGroup}u;
${functions}

@compute @workgroup_size(${workgroupSize})
fn main(@builtin(local_invocation_index) ${self}: u32, @builtin(workgroup_id) group: vec3u) {
  let first = (group.x + group.y * ${groupsAcross}u) * ROWS_PER_GROUP;
${target.cpu ? inTurn : byTeams}
}
`,
  };
}
