import type { Kernel, KernelTarget } from "../../graph/kernel.ts";
import { elementCount, type TensorType } from "../../graph/types.ts";
import { acrossVector, reduction } from "./reduction.ts";
import { buffers, Stored } from "./storage.ts";
import { vectorType, vectorWidth } from "./wgsl.ts";

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

/**
 * Kernel of an op that maps rows (the last axis) to rows with sums over each: one workgroup a row, rows in registers.
 *
 * On a CPU adapter a workgroup is one subgroup, takes several rows in turn, and loads what belongs to the columns once.
 */
export function rowKernel(
  { target, rows, columns = {}, output }: RowInputs,
  body: (row: RowWriter) => string[],
): Kernel {
  const [first] = Object.values(rows), size = first.shape[first.shape.length - 1];
  const count = elementCount(first.shape) / size, width = vectorWidth(size), units = size / width;
  const perColumn = Object.entries(columns).filter((entry): entry is [string, TensorType] => entry[1] !== null);
  const { workgroupSize, functions } = reduction(target, units, ["reduceSum", "reduceSumPair", "reduceMax"]);
  const rowsPerGroup = target.cpu ? Math.max(1, Math.min(16, Math.floor(count / 32))) : 1;
  const groups = Math.ceil(count / rowsPerGroup);
  const groupsAcross = Math.min(groups, target.maxWorkgroupsPerDimension);
  const bound = [...Object.entries(rows), ...perColumn].map(([name, type]) => ({
    name,
    stored: new Stored(`${name}_in`, type, width, target),
  }));
  const result = new Stored("result", output, width, target);
  const read = (name: string, at: string) => `V(${bound.find((each) => each.name === name)!.stored.load(at)})`;
  const turns = Math.ceil(units / workgroupSize), inRegisters = turns <= mostInRegisters;

  const unit = (turn: number) => turn ? `lane + ${turn * workgroupSize}u` : "lane";
  const guarded = (turn: number, statement: string) =>
    (turn + 1) * workgroupSize <= units ? statement : `if (${unit(turn)} < UNITS) { ${statement} }`;
  const safe = (turn: number) => (turn + 1) * workgroupSize <= units ? unit(turn) : `min(${unit(turn)}, UNITS - 1u)`;
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
    return `for (var unit = lane; unit < UNITS; unit += ${workgroupSize}u) {
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
    let ${name} = reduceSum(${across(name)}, lane);`,
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
    let ${a}_${b} = reduceSumPair(vec2f(${across(a)}, ${across(b)}), lane);
    let ${a} = ${a}_${b}.x;
    let ${b} = ${a}_${b}.y;`,
    max: (name, term) =>
      `${total(name, term, "-3.4e38", (a, b) => `max(${a}, ${b})`)}
    let ${name} = reduceMax(${acrossVector(`${name}_parts`, width, "reduceMax")}, lane);`,
    write: (value) => pass((expression, at) => result.store(`start + ${at}`, expression(value))),
  };
  const registers = (names: readonly string[], from: string) =>
    inRegisters ? Array.from({ length: turns }, (_, turn) => load(turn, names, safe(turn), from)).join("\n  ") : "";
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
fn main(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3u) {
  let first = (group.x + group.y * ${groupsAcross}u) * ROWS_PER_GROUP;
  ${registers(perColumn.map(([name]) => name), "")}
  for (var row = first; row < min(first + ROWS_PER_GROUP, ROWS); row++) {
    let start = row * UNITS;
    ${registers(Object.keys(rows), "start + ")}
    ${body(writer).join("\n    ")}
  }
}
`,
  };
}
