import type { KernelTarget } from "../../graph/kernel.ts";
import { range } from "./register_tile.ts";
import { divide, modulo } from "./wgsl.ts";

/** Sizes of a workgroup's tile of a matrix product. */
export interface WorkgroupTileShape {
  readonly rows: number;
  readonly columns: number;
  /** Steps of the sum that are held in workgroup memory at a time; a multiple of 4. */
  readonly depth: number;
  /** Parts of the sum that groups of invocations do at the same time, added in a fixed order. */
  readonly splits: number;
}

/** How the tile of an operand is read: four-vectors along one of its axes by a WGSL function. */
export interface WorkgroupOperand {
  /** Axis along which the function's four values lie. */
  readonly along: "sum" | "tile";
  /** Name of a WGSL function `(at: u32, step: u32) -> vec4f`: zeros outside of the matrix. */
  readonly load: string;
}

const rowsEach = 4;
/** Steps of the sum that are written out: loops in WGSL carry a counter that bounds them. */
const unroll = 4;

/** Columns that one invocation sums: eight where the tile is wide, to amortise the reads of workgroup memory. */
function columnsEach(shape: WorkgroupTileShape): number {
  return shape.columns >= 64 ? 8 : 4;
}

/** Invocations of one split of a tile. */
function invocationsEach(shape: WorkgroupTileShape): number {
  return (shape.rows / rowsEach) * (shape.columns / columnsEach(shape));
}

/** Invocations of a workgroup. */
export function workgroupSize(shape: WorkgroupTileShape): number {
  return invocationsEach(shape) * shape.splits;
}

/**
 * Tile for a product of these sizes: the largest that keeps a GPU busy, for a value that lies in workgroup memory is used as often as the tile is
 * wide. A long sum of few tiles is split between invocations of a workgroup rather than made of small tiles.
 */
export function chooseWorkgroupTile(
  sizes: { rows: number; columns: number; sum: number; batch: number },
  target: KernelTarget,
): WorkgroupTileShape {
  const fits = (shape: WorkgroupTileShape) =>
    workgroupSize(shape) <= Math.min(target.maxInvocations, mostInvocations) &&
    workgroupBytes(shape) <= target.maxWorkgroupStorageBytes;
  const tiles = ({ rows, columns }: WorkgroupTileShape) =>
    Math.ceil(sizes.rows / rows) * Math.ceil(sizes.columns / columns) * sizes.batch;
  const waste = ({ rows, columns }: WorkgroupTileShape) =>
    Math.ceil(sizes.rows / rows) * rows * Math.ceil(sizes.columns / columns) * columns / (sizes.rows * sizes.columns);
  const split = (shape: WorkgroupTileShape): WorkgroupTileShape => {
    const next = { ...shape, splits: shape.splits * 2 };
    const isWanted = tiles(shape) * shape.splits < enoughWorkgroups && sizes.sum >= shape.splits * 256;
    return isWanted && fits(next) ? split(next) : shape;
  };
  const candidates = ([[128, 64], [64, 64], [64, 32], [32, 64], [64, 16], [16, 64], [32, 32], [16, 16]] as const)
    .map(([rows, columns]) => ({ rows, columns, depth: 16, splits: 1 }))
    .filter(fits)
    .map(split);
  return candidates.find((shape) => tiles(shape) * shape.splits >= enoughWorkgroups && waste(shape) < 1.3) ??
    candidates.toSorted((a, b) => waste(a) / tiles(a) - waste(b) / tiles(b))[0];
}

/** More invocations in a workgroup leave too few registers to each. */
const mostInvocations = 256;

/** Below this many workgroups smaller tiles do better: a card has some 20 to 130 processors. */
const enoughWorkgroups = 96;

/** Four-vectors between two steps of the sum in workgroup memory: one more than there are, so that columns fall on different banks. */
const pitch = (size: number) => size / 4 + 1;

function workgroupBytes(shape: WorkgroupTileShape): number {
  const operands = shape.splits * shape.depth * (pitch(shape.rows) + pitch(shape.columns));
  return 16 * (operands + (shape.splits > 1 ? shape.rows * shape.columns / 4 : 0));
}

/** WGSL declarations of the workgroup memory. */
export function workgroupMemory(shape: WorkgroupTileShape): string {
  const { rows, columns, depth, splits } = shape;
  return `var<workgroup> tileA: array<vec4f, ${splits * depth * pitch(rows)}>;
var<workgroup> tileB: array<vec4f, ${splits * depth * pitch(columns)}>;
${splits > 1 ? `var<workgroup> partial: array<vec4f, ${rows * columns / 4}>;` : ""}`;
}

/**
 * WGSL that sums a tile of a matrix product by way of workgroup memory: for GPUs.
 *
 * Expects `local` (index in the workgroup), `firstRow` and `firstColumn` (u32) in uniform control flow. Calls `store(row, column)` text for
 * each invocation's sums: `rowsEach` rows of four-vectors `sum<row>_<quad>`.
 */
export function workgroupTile(
  shape: WorkgroupTileShape,
  sumLength: number,
  a: WorkgroupOperand,
  b: WorkgroupOperand,
  store: (row: string, column: string, value: string) => string,
): string {
  const { rows, columns, depth, splits } = shape;
  const quads = columnsEach(shape) / 4, each = invocationsEach(shape), across = columns / columnsEach(shape);
  const span = Math.ceil(Math.ceil(sumLength / splits) / depth) * depth;
  const names = range(rowsEach).flatMap((r) => range(quads).map((q) => `sum${r}_${q}`));
  const fill = (tile: string, size: number, operand: WorkgroupOperand, first: string) => {
    const perStep = size / 4, count = operand.along === "tile" ? depth * perStep : size * (depth / 4);
    const body = operand.along === "tile"
      ? `let step = ${divide("i", perStep)};
    let quad = ${modulo("i", perStep)};
    ${tile}[(part * ${depth}u + step) * ${pitch(size)}u + quad] = ${operand.load}(${first} + quad * 4u, begin + step);`
      : `let step = ${modulo("i", depth / 4)} * 4u;
    let at = ${divide("i", depth / 4)};
    let value = ${operand.load}(${first} + at, begin + step);
    let place = (part * ${depth}u + step) * ${pitch(size)}u + at / 4u;
    ${range(4).map((c) => `${tile}[place + ${c * pitch(size)}u][at % 4u] = value.${"xyzw"[c]};`).join("\n    ")}`;
    return `for (var i = within; i < ${count}u; i += ${each}u) {\n    ${body}\n  }`;
  };
  const reduction = splits === 1 ? "" : range(splits - 1).map((split) =>
    `workgroupBarrier();
if (part == ${split + 1}u) {
  ${names.map((name, i) => `partial[within * ${names.length}u + ${i}u] = ${name};`).join("\n  ")}
}
workgroupBarrier();
if (part == 0u) {
  ${names.map((name, i) => `${name} += partial[within * ${names.length}u + ${i}u];`).join("\n  ")}
}`
  ).join("\n");
  const multiply = (step: number) => {
    const sums = names.map((name, i) => {
      const row = Math.floor(i / quads), quad = i % quads;
      return `${name} = fma(vec4f(a.${"xyzw"[row]}), b${quad}, ${name});`;
    });
    const right = range(quads).map((q) => `let b${q} = tileB[baseB + ${step * pitch(columns) + q * across}u];`);
    return `{
      let a = tileA[baseA + ${step * pitch(rows)}u];
      ${[...right, ...sums].join("\n      ")}
    }`;
  };
  return `let part = ${divide("local", each)};
let within = ${modulo("local", each)};
let rowInTile = ${divide("within", across)} * ${rowsEach}u;
let columnInTile = ${modulo("within", across)} * 4u;
${names.map((name) => `var ${name} = vec4f();`).join("\n")}
for (var first = 0u; first < ${span}u; first += ${depth}u) {
  let begin = part * ${span}u + first;
  ${fill("tileA", rows, a, "firstRow")}
  ${fill("tileB", columns, b, "firstColumn")}
  workgroupBarrier();
  for (var step = 0u; step < ${depth}u; step += ${unroll}u) {
    let baseA = (part * ${depth}u + step) * ${pitch(rows)}u + ${divide("rowInTile", 4)};
    let baseB = (part * ${depth}u + step) * ${pitch(columns)}u + ${divide("columnInTile", 4)};
    ${range(unroll).map((step) => multiply(step)).join("\n    ")}
  }
  workgroupBarrier();
}
${reduction}
${splits > 1 ? "if (part != 0u) { return; }" : ""}
${
    range(rowsEach).flatMap((r) =>
      range(quads).map((q) =>
        store(`firstRow + rowInTile + ${r}u`, `firstColumn + columnInTile + ${q * across * 4}u`, `sum${r}_${q}`)
      )
    ).join("\n")
  }`;
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
