import type { WorkgroupTileShape } from "../../graph/kernel.ts";
import { range } from "./register_tile.ts";
import { divide, modulo } from "./wgsl.ts";

/**
 * What operands are multiplied in, and lie in in workgroup memory. `f16` adds the products of a block of `depth` steps in f16, as the hardware does with
 * two at a time, and the blocks' sums in f32.
 */
export type TileArithmetic = "f32" | "f16";

/** One of the matrix products that a tile sums up, one after another. */
export interface WorkgroupSum {
  readonly arithmetic: TileArithmetic;
  /** Its steps, of which each split sums `splitLength`. */
  readonly length: number;
  readonly a: WorkgroupOperand;
  readonly b: WorkgroupOperand;
  /** WGSL before values are loaded, `begin` being the first of their `depth` steps. */
  readonly atBlock?: string | undefined;
}

/** How the tile of an operand is read: four-vectors along one of its axes by a WGSL function. */
export interface WorkgroupOperand {
  /** Axis along which the function's four values lie. */
  readonly along: "sum" | "tile";
  /** Name of a WGSL function `(at: u32, step: u32)` that gives four numbers, in f16 where they are multiplied in it: zeros outside of the matrix. */
  readonly load: string;
}

/** The arrays in workgroup memory, and bytes and WGSL type of their four-vectors. */
const memories = {
  f32: { name: "tile", vector: "vec4f", bytes: 16 },
  f16: { name: "halfTile", vector: "vec4<f16>", bytes: 8 },
} as const;

/** Steps of the sum that are written out: loops in WGSL carry a counter that bounds them. */
const unroll = 4;

/** Columns that one invocation sums: eight where the tile is wide, to amortise the reads of workgroup memory. */
export function columnsEach(shape: WorkgroupTileShape): number {
  return shape.columns >= 32 ? 8 : 4;
}

/** Rows that one invocation sums. */
export function rowsEach({ rowsEach = 4 }: WorkgroupTileShape): number {
  return rowsEach;
}

/** Invocations of one split of a tile. */
export function invocationsEach(shape: WorkgroupTileShape): number {
  return (shape.rows / rowsEach(shape)) * (shape.columns / columnsEach(shape));
}

/** Invocations of a workgroup. */
export function workgroupSize(shape: WorkgroupTileShape): number {
  return invocationsEach(shape) * shape.splits;
}

/** Four-vectors between two steps of the sum in workgroup memory: one more than there are, so that columns fall on different banks. */
const pitch = (size: number) => size / 4 + 1;

/** Four-vectors of one of the arrays in workgroup memory: rows and columns of all splits, and later the sums of one split. */
function workgroupVectors(
  { rows, columns, depth, splits }: WorkgroupTileShape,
  arithmetics: readonly TileArithmetic[],
  of: TileArithmetic,
): number {
  const operands = arithmetics.includes(of) ? splits * depth * (pitch(rows) + pitch(columns)) : 0;
  return of === "f32" && splits > 1 ? Math.max(operands, rows * columns / 4) : operands;
}

const kinds = ["f32", "f16"] as const;

/** Bytes of a tile's workgroup memory. */
export function workgroupBytes(shape: WorkgroupTileShape, arithmetics: readonly TileArithmetic[]): number {
  return kinds.reduce((sum, of) => sum + memories[of].bytes * workgroupVectors(shape, arithmetics, of), 0);
}

/** WGSL declarations of the workgroup memory. */
export function workgroupMemory(shape: WorkgroupTileShape, arithmetics: readonly TileArithmetic[]): string {
  return kinds.map((of) => ({ ...memories[of], count: workgroupVectors(shape, arithmetics, of) }))
    .filter(({ count }) => count > 0)
    .map(({ name, vector, count }) => `var<workgroup> ${name}: array<${vector}, ${count}>;`).join("\n");
}

/**
 * WGSL that sums a tile of matrix products by way of workgroup memory: for GPUs. The next steps' values are on their way to registers while those in
 * workgroup memory are multiplied.
 *
 * Expects `local` (index in the workgroup), `firstRow` and `firstColumn` (u32), and `sumPart` where sums have parts, in uniform control flow. Calls `store(row, column)` text for
 * each invocation's sums: rows of four-vectors `sum<row>_<quad>`.
 */
export function workgroupTile(
  shape: WorkgroupTileShape,
  sums: readonly WorkgroupSum[],
  store: (row: string, column: string, value: string) => string,
): string {
  const { rows, columns, splits } = shape, across = columns / columnsEach(shape), down = rows / rowsEach(shape);
  const each = invocationsEach(shape), names = sumNames(shape);
  const partial = (i: number) => `tile[within * ${names.length}u + ${i}u]`;
  const reduction = range(splits - 1).map((split) =>
    `if (part == ${split + 1}u) {
  ${names.map(({ name }, i) => `${partial(i)} = ${name};`).join("\n  ")}
}
workgroupBarrier();
if (part == 0u) {
  ${names.map(({ name }, i) => `${name} += ${partial(i)};`).join("\n  ")}
}
workgroupBarrier();`
  ).join("\n");
  // No `return` for other parts: behind one in some invocations no barrier may follow, such as that of a kernel beside this one.
  const stores = names.map(({ name, row, quad }) =>
    store(
      `firstRow + rowInTile + ${Math.floor(row / 4) * down * 4 + row % 4}u`,
      `firstColumn + columnInTile + ${quad * across * 4}u`,
      name,
    )
  ).join("\n");
  return `let part = ${divide("local", each)};
let within = ${modulo("local", each)};
let rowInTile = ${divide("within", across)} * 4u;
let columnInTile = ${modulo("within", across)} * 4u;
${names.map(({ name }) => `var ${name} = vec4f();`).join("\n")}
${sums.map((sum) => `{\n${oneSum(shape, sum)}\n}`).join("\n")}
${reduction}
${splits > 1 ? `if (part == 0u) {\n${stores}\n}` : stores}`;
}

/** An invocation's sums: rows of four-vectors. */
function sumNames(shape: WorkgroupTileShape): { name: string; row: number; quad: number }[] {
  return range(rowsEach(shape)).flatMap((row) =>
    range(columnsEach(shape) / 4).map((quad) => ({ name: `sum${row}_${quad}`, row, quad }))
  );
}

/** WGSL that adds one product to the sums. */
function oneSum(shape: WorkgroupTileShape, { arithmetic, length, a, b, atBlock = "" }: WorkgroupSum): string {
  const { rows, columns, depth, splits, parts = 1 } = shape, memory = memories[arithmetic];
  const down = rows / rowsEach(shape), across = columns / columnsEach(shape);
  const names = sumNames(shape), span = splitLength(shape, length), inHalves = arithmetic === "f16";
  const left = filling("A", rows, a, "firstRow", shape, memory, 0);
  const right = filling("B", columns, b, "firstColumn", shape, memory, splits * depth * pitch(rows));
  const adding = (name: string) => inHalves ? name.replace("sum", "half") : name;
  const each = (line: (name: string) => string) => inHalves ? names.map(({ name }) => line(name)).join("\n    ") : "";
  const multiply = (step: number) => {
    const reads = [
      ...range(rowsEach(shape) / 4).map((q) =>
        `let a${q} = ${memory.name}[baseA + ${step * pitch(rows) + q * down}u];`
      ),
      ...range(columnsEach(shape) / 4).map((q) =>
        `let b${q} = ${memory.name}[baseB + ${step * pitch(columns) + q * across}u];`
      ),
    ];
    const sums = names.map(({ name, row, quad }) => {
      const factor = `a${Math.floor(row / 4)}.${"xyzw"[row % 4]}`;
      return `${adding(name)} = fma(${memory.vector}(${factor}), b${quad}, ${adding(name)});`;
    });
    return `{
      ${[...reads, ...sums].join("\n      ")}
    }`;
  };
  return `${[...left.declared, ...right.declared].join("\n")}
// Each turn loads the steps from \`first\` on and multiplies those before.
for (var first = 0u; first <= ${span}u; first += ${depth}u) {
  if (first < ${span}u) {
    let begin = ${parts > 1 ? `(sumPart * ${splits}u + part)` : "part"} * ${span}u + first;
    ${atBlock}
    ${[...left.loads, ...right.loads].join("\n    ")}
  }
  if (first > 0u) {
    ${each((name) => `var ${adding(name)} = ${memory.vector}();`)}
    for (var step = 0u; step < ${depth}u; step += ${unroll}u) {
      let baseA = (part * ${depth}u + step) * ${pitch(rows)}u + ${divide("rowInTile", 4)};
      let baseB = ${right.base}u + (part * ${depth}u + step) * ${pitch(columns)}u + ${divide("columnInTile", 4)};
      ${range(unroll).map((step) => multiply(step)).join("\n    ")}
    }
    ${each((name) => `${name} += vec4f(${adding(name)});`)}
  }
  workgroupBarrier();
  ${[...left.stores, ...right.stores].join("\n  ")}
  workgroupBarrier();
}`;
}

/** Steps of the sum that one split of one part does. */
export function splitLength({ splits, depth, parts = 1 }: WorkgroupTileShape, sumLength: number): number {
  return Math.ceil(Math.ceil(sumLength / (parts * splits)) / depth) * depth;
}

/**
 * WGSL by which an invocation brings its part of an operand to workgroup memory: a few four-vectors, first to registers.
 *
 * What lies along the sum comes as blocks of four by four, so that each vector is stored by one invocation: Metal and Direct3D store a vector's component by
 * storing all of it, and one of two invocations that store its `x` and its `y` would undo what the other did.
 *
 * @see https://github.com/gpuweb/gpuweb/issues/2112
 */
function filling(
  name: string,
  size: number,
  { along, load }: WorkgroupOperand,
  first: string,
  shape: WorkgroupTileShape,
  memory: typeof memories[TileArithmetic],
  base: number,
) {
  const { depth } = shape, each = invocationsEach(shape), places = size / 4;
  // Vectors of one part, and parts side by side: along the tile, or along the sum.
  const [vectors, across] = along === "tile" ? [1, places] : [4, depth / 4], parts = depth * places / vectors;
  const row = (step: string) => `${base}u + (part * ${depth}u + ${step}) * ${pitch(size)}u`;
  // Where there are fewer parts than invocations, those of one operand are left to the first ones, and the other's to the last ones.
  const from = name === "A" ? 0 : Math.max(0, each - parts), member = from > 0 ? `(within - ${from}u)` : "within";
  // All of these are powers of two, so an invocation's parts lie evenly spaced.
  const turns = range(Math.ceil(parts / each)).map((turn) => {
    const next = range(vectors).map((i) => `next${name}${turn * vectors + i}`);
    const inner = modulo(member, across), outer = `(${divide(member, across)} + ${turn * each / across}u)`;
    if (along === "tile") {
      return {
        next,
        loads: [`${next[0]} = ${load}(${first} + ${inner} * 4u, begin + ${outer});`],
        stores: [`${memory.name}[${row(outer)} + ${inner}] = ${next[0]};`],
      };
    }
    return {
      next,
      loads: next.map((vector, i) => `${vector} = ${load}(${first} + ${outer} * 4u + ${i}u, begin + ${inner} * 4u);`),
      stores: range(4).map((step) =>
        `${memory.name}[${row(`${inner} * 4u + ${step}u`)} + ${outer}] = ${memory.vector}(${
          next.map((vector) => `${vector}.${"xyzw"[step]}`).join(", ")
        });`
      ),
    };
  });
  const isBusy = from > 0 ? `within >= ${from}u` : `within < ${parts}u`;
  const guarded = (lines: string[]) => each <= parts ? lines : [`if (${isBusy}) {`, ...lines, "}"];
  return {
    base,
    declared: turns.flatMap(({ next }) => next.map((vector) => `var ${vector} = ${memory.vector}();`)),
    loads: guarded(turns.flatMap(({ loads }) => loads)),
    stores: guarded(turns.flatMap(({ stores }) => stores)),
  };
}

/** Stores four values side by side where they lie inside of the result. */
export function guardedStore(
  rows: number,
  columns: number,
  vectors: boolean,
  row: string,
  column: string,
  value: string,
  store: (row: string, column: string, value: string) => string,
): string {
  if (vectors) return `if (${row} < ${rows}u && ${column} < ${columns}u) { ${store(row, column, value)} }`;
  return range(4).map((c) =>
    `if (${row} < ${rows}u && ${column} + ${c}u < ${columns}u) { ${
      store(row, `${column} + ${c}u`, `${value}.${"xyzw"[c]}`)
    } }`
  ).join("\n");
}
