import type { Kernel, KernelTarget } from "../../graph/kernel.ts";
import { chooseRegisterTile, tileOutputs } from "./register_plan.ts";
import { elementType, type OperandType, range, registerTile, type TileOperand } from "./register_tile.ts";
import { binding, divide, float } from "./wgsl.ts";
import { chooseWorkgroupTile, guardedStore, workgroupMemory, workgroupSize, workgroupTile } from "./workgroup_tile.ts";

/** Sizes and layout of a batch of matrix products. */
export interface GemmOptions {
  /** Products in the batch; 1 when left out. */
  readonly batch?: number;
  readonly m: number;
  readonly n: number;
  readonly k: number;
  /** `a` is stored `[k, m]` instead of `[m, k]`. */
  readonly transposeA?: boolean;
  /** `b` is stored `[n, k]` instead of `[k, n]`. */
  readonly transposeB?: boolean;
  /** One `a` (or `b`) serves the whole batch. */
  readonly sharedA?: boolean;
  readonly sharedB?: boolean;
  /** Element formats; `f32` when left out. */
  readonly dtypeA?: OperandType;
  readonly dtypeB?: OperandType;
  /** Element format of the bias `[n]`; there is none when left out. */
  readonly bias?: OperandType | null;
  /** Element format of the addend `[batch, m, n]`; there is none when left out. */
  readonly addend?: OperandType | null;
  /** Factor on the product alone; 1 when left out. */
  readonly scale?: number;
}

/**
 * Kernel for `result[i, m, n] = scale * a[i]·b[i] + bias[n] + addend[i, m, n]`, summed and stored in f32.
 *
 * Bindings: a, b, then bias and addend when there are any, then result.
 */
export function gemm(options: GemmOptions, target: KernelTarget): Kernel {
  return target.cpu && target.subgroupSize > 0 ? onCpu(options, target) : onGpu(options, target);
}

/** A subgroup is a workgroup and sums a tile of the result, or of its transpose, in registers. */
function onCpu(options: GemmOptions, target: KernelTarget): Kernel {
  const { batch = 1, m, n, k } = options, lanes = target.subgroupSize;
  const choice = chooseRegisterTile({ m, n, k, batch, a: operandA(options), b: operandB(options), lanes });
  const [rowCount, columnCount] = choice.swapped ? [n, m] : [m, n];
  const tile = { ...choice, lanes, rowCount, columnCount, sumLength: k };
  const [a, b] = tile.swapped ? [tile.columnOperand, tile.rowOperand] : [tile.rowOperand, tile.columnOperand];
  const { vectors, outputs } = tileOutputs(tile);
  const stores = outputs.map(({ row, column, value, condition }) => {
    const line = storeLine(options, vectors, row, column, value);
    return condition ? `if (${condition}) { ${line} }` : line;
  });
  return {
    workgroups: [Math.ceil(columnCount / (tile.columns * lanes)), Math.ceil(rowCount / tile.rows), batch],
    wgsl: `${productHeader(options, a, b, vectors)}
@compute @workgroup_size(${lanes})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(subgroup_invocation_id) lane: u32) {
let matrix = group.z;
let firstColumn = group.x * ${tile.columns * lanes}u;
let firstRow = group.y * ${tile.rows}u;
${registerTile(tile)}
${stores.join("\n")}
}
`,
  };
}

/** A workgroup sums a tile by way of workgroup memory, each invocation a few rows and columns of it. */
function onGpu(options: GemmOptions, target: KernelTarget): Kernel {
  const { batch = 1, m, n, k } = options;
  const a = operandA(options), b = operandB(options), vectors = n % 4 === 0;
  const shape = chooseWorkgroupTile({ rows: m, columns: n, sum: k, batch }, target);
  const body = workgroupTile(
    shape,
    k,
    { along: a.vectors ? a.contiguous : "tile", load: "loadA" },
    { along: b.vectors ? b.contiguous : "tile", load: "loadB" },
    (row, column, value) =>
      guardedStore(m, n, vectors, row, column, value, (...at) => storeLine(options, vectors, ...at)),
  );
  return {
    workgroups: [Math.ceil(n / shape.columns), Math.ceil(m / shape.rows), batch],
    wgsl: `${productHeader(options, a, b, vectors)}
${workgroupMemory(shape)}
var<private> matrix: u32;
${matrixLoad("loadA", a, m, k)}
${matrixLoad("loadB", b, n, k)}
@compute @workgroup_size(${workgroupSize(shape)})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) local: u32) {
matrix = group.z;
let firstColumn = group.x * ${shape.columns}u;
let firstRow = group.y * ${shape.rows}u;
${body}
}
`,
  };
}

function operandA({ m, k, transposeA, sharedA, dtypeA = "f32" }: GemmOptions): TileOperand {
  return matrixOperand("a", m, k, !transposeA, !sharedA, dtypeA);
}

function operandB({ n, k, transposeB, sharedB, dtypeB = "f32" }: GemmOptions): TileOperand {
  return matrixOperand("b", n, k, !!transposeB, !sharedB, dtypeB);
}

function matrixOperand(
  name: string,
  size: number,
  k: number,
  sumContiguous: boolean,
  batched: boolean,
  dtype: OperandType,
): TileOperand {
  const base = batched ? `matrix * ${size * k}u + ` : "";
  return {
    name,
    dtype,
    contiguous: sumContiguous ? "sum" : "tile",
    vectors: (sumContiguous ? k : size) % 4 === 0,
    sumStride: sumContiguous ? 1 : size,
    tileStride: sumContiguous ? k : 1,
    offset: (at) => `${base}${at}${sumContiguous ? ` * ${k}u` : ""}`,
  };
}

/** Bindings of a product with a bias and an addend. */
function productHeader({ bias, addend }: GemmOptions, a: TileOperand, b: TileOperand, vectors: boolean): string {
  const dtypes = [a.dtype, b.dtype, bias, addend];
  let at = 0;
  return [
    dtypes.includes("f16") ? "enable f16;" : "",
    binding(at++, "a", elementType(a), "read"),
    binding(at++, "b", elementType(b), "read"),
    bias ? binding(at++, "bias", elementType({ dtype: bias, vectors }), "read") : "",
    addend ? binding(at++, "addend", elementType({ dtype: addend, vectors }), "read") : "",
    binding(at++, "result", elementType({ dtype: "f32", vectors }), "read_write"),
  ].filter((line) => line).join("\n");
}

/** Stores one value, or four side by side, with scale, bias and addend. */
function storeLine(
  { m, n, bias, addend, scale = 1 }: GemmOptions,
  vectors: boolean,
  row: string,
  column: string,
  value: string,
): string {
  const unit = vectors ? 4 : 1, type = vectors ? "vec4f" : "f32";
  const index = `(matrix * ${m}u + ${row}) * ${n / unit}u + ${divide(column, unit)}`;
  const terms = [
    scale === 1 ? value : `${value} * ${float(scale)}`,
    bias ? `${type}(bias[${divide(column, unit)}])` : "",
    addend ? `${type}(addend[${index}])` : "",
  ];
  return `result[${index}] = ${terms.filter((term) => term).join(" + ")};`;
}

/** WGSL function that reads four elements of a matrix for a workgroup's tile, zeros outside. */
function matrixLoad(name: string, operand: TileOperand, size: number, k: number): string {
  const { dtype, vectors, sumStride, tileStride } = operand;
  const element = (offset: string) => `${dtype === "f16" ? "f32" : ""}(${operand.name}[${offset}])`;
  const offset = `${operand.offset("at", "")} + step * ${sumStride}u`;
  const body = vectors
    ? `if (at >= ${size}u || step >= ${k}u) { return vec4f(); }
  return vec4f(${operand.name}[${divide(offset, 4)}]);`
    : `var value = vec4f();
  if (step >= ${k}u) { return value; }
  let offset = ${offset};
  ${
      range(4).map((i) =>
        `if (at + ${i}u < ${size}u) { value.${"xyzw"[i]} = ${element(`offset + ${i * tileStride}u`)}; }`
      )
        .join("\n  ")
    }
  return value;`;
  return `fn ${name}(at: u32, step: u32) -> vec4f {
  ${body}
}`;
}
