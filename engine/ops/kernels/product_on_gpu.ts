import type { FinishingKernel, Kernel, KernelTarget, WorkgroupTileShape } from "../../graph/kernel.ts";
import { boundBuffers, type Product, type ProductLoops, secondFactor, storeLine } from "./product.ts";
import { range, storedOperand, type TileOperand } from "./register_tile.ts";
import { buffers, Stored } from "./storage.ts";
import { divide, float, grid } from "./wgsl.ts";
import type { WorkgroupSizes } from "./workgroup_choice.ts";
import {
  guardedStore,
  splitLength,
  type TileArithmetic,
  workgroupMemory,
  workgroupSize,
  type WorkgroupSum,
  workgroupTile,
} from "./workgroup_tile.ts";

/** Where the second sum begins: at a multiple of four, so that no four-vector reads from both. */
function secondBegin({ k }: Product): number {
  return Math.ceil(k / 4) * 4;
}

/** What a GPU's tile is chosen by. */
export function workgroupSizes(product: Product, target: KernelTarget): WorkgroupSizes {
  const { batch, m, n } = product;
  return { rows: m, columns: n, sum: wholeSum(product), batch, arithmetics: arithmeticsOf(product, target) };
}

/** Steps of both products as one sum. */
function wholeSum(product: Product): number {
  return product.second ? secondBegin(product) + product.second.k : product.k;
}

/**
 * What a GPU multiplies in. In f16 only where operands and result are stored in it: what is stored in f32 is so because it is small or large, or because it is
 * compared, and keeps its products in f32, a low-rank part beside a layer's own product too. Without one that is in f16 both are one sum.
 */
function arithmeticsOf({ a, b, result, second }: Product, { f16Arithmetic = false }: KernelTarget): TileArithmetic[] {
  if (!f16Arithmetic || [a.dtype, b.dtype, result].some((dtype) => dtype !== "f16")) return ["f32"];
  return second ? ["f16", "f32"] : ["f16"];
}

/**
 * A workgroup sums a tile by way of workgroup memory, each invocation a few rows and columns of it. Where the sum has parts that workgroups of their own do, these lay their sums
 * down for a second dispatch.
 */
export function productOnGpu(product: Product, target: KernelTarget, shape: WorkgroupTileShape): Kernel {
  const { batch, m, n, a, b, second } = product, { parts = 1 } = shape, vectors = n % 4 === 0;
  const bound = boundBuffers(product, vectors, target), partials = partialSums(vectors, target);
  const operands = [a, b, second?.a, second?.b].map((operand) => operand ? storedOperand(operand, target) : null);
  const unit = partials.width, arithmetics = arithmeticsOf(product, target);
  const store = (row: string, column: string, value: string) =>
    parts === 1
      ? storeLine(product, bound, row, column, value)
      : partials.store(`(group.z * ${m}u + ${row}) * ${n / unit}u + ${divide(column, unit)}`, value);
  const { declared, sums } = arithmetics[0] === "f16"
    ? sumsApart(product, target, shape)
    : sumsTogether(product, target, shape);
  const body = workgroupTile(
    shape,
    sums,
    (row, column, value) => guardedStore(m, n, vectors, row, column, value, store),
  );
  const read = parts === 1 ? [...operands.slice(0, 2), bound.bias, bound.addend, ...operands.slice(2)] : operands;
  return {
    workgroups: [Math.ceil(n / shape.columns), Math.ceil(m / shape.rows), batch * parts],
    wgsl: `${buffers(read, [parts === 1 ? bound.result : partials])}
${workgroupMemory(shape, arithmetics)}
var<private> matrix: u32;
${declared}
@compute @workgroup_size(${workgroupSize(shape)})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) local: u32) {
matrix = ${parts === 1 ? "group.z" : `group.z / ${parts}u`};
${parts === 1 ? "" : `let sumPart = group.z % ${parts}u;`}
let firstColumn = group.x * ${shape.columns}u;
let firstRow = group.y * ${shape.rows}u;
${product.prologue ?? ""}
${body}
}
`,
    ...parts === 1 ? {} : { finish: addingParts(product, target, parts) },
  };
}

/** What a tile sums up, and the WGSL that it takes in front of `main`. */
interface DeclaredSums {
  readonly declared: string;
  readonly sums: readonly WorkgroupSum[];
}

/** Both products as one sum in f32. */
function sumsTogether(product: Product, target: KernelTarget, shape: WorkgroupTileShape): DeclaredSums {
  const { a, b, second, m, n, k } = product, begin = secondBegin(product), length = wholeSum(product);
  const block = sharedBlock(product, shape), hasAllSteps = isWhole(shape, length) && begin === k;
  const load = (name: string, first: TileOperand, other: TileOperand | undefined, size: number, tile: number) => {
    const at = { product, target, block, hasAllSteps, size, hasAll: size % tile === 0 };
    return other ? loadFunctions(name, [first, other], begin, at) : loadFunction(name, first, at);
  };
  return {
    declared: [
      block?.declared ?? "",
      load("loadA", a, second?.a, m, shape.rows),
      load("loadB", b, second?.b, n, shape.columns),
    ].join("\n"),
    sums: [{
      arithmetic: "f32",
      length,
      a: { along: a.contiguous, load: "loadA" },
      b: { along: b.contiguous, load: "loadB" },
      atBlock: block?.setup,
    }],
  };
}

/** The product in f16, and the second one behind it in f32. */
function sumsApart(product: Product, target: KernelTarget, shape: WorkgroupTileShape): DeclaredSums {
  const { second, m, n } = product;
  const one = (arithmetic: TileArithmetic, of: Omit<Product, "second">, ending = "", factor = 1): DeclaredSums => {
    const { a, b, k } = of, block = arithmetic === "f16" ? sharedBlock(of, shape) : null;
    const at = { product: of, target, block, hasAllSteps: isWhole(shape, k), arithmetic };
    const loads = { a: `loadA${ending}`, b: `loadB${ending}` };
    return {
      declared: [
        block?.declared ?? "",
        loadFunction(loads.a, a, { ...at, size: m, hasAll: m % shape.rows === 0, factor }),
        loadFunction(loads.b, b, { ...at, size: n, hasAll: n % shape.columns === 0 }),
      ].join("\n"),
      sums: [{
        arithmetic,
        length: k,
        a: { along: a.contiguous, load: loads.a },
        b: { along: b.contiguous, load: loads.b },
        atBlock: block?.setup,
      }],
    };
  };
  const all = [one("f16", product)];
  if (second) all.push(one("f32", { ...product, ...second }, "2", secondFactor(product)));
  return {
    declared: all.map(({ declared }) => declared).join("\n"),
    sums: all.flatMap(({ sums }) => sums),
  };
}

/** Whether parts and splits of a sum end where it does. */
function isWhole(shape: WorkgroupTileShape, length: number): boolean {
  return splitLength(shape, length) * shape.splits * (shape.parts ?? 1) === length;
}

/** Steps that are loaded together lie within one turn of the outer loops, which then need not be found for each of them. */
function sharedBlock(
  { loops }: Pick<Product, "loops">,
  { depth }: WorkgroupTileShape,
): ReturnType<typeof blockOf> | null {
  return loops && loops.length % depth === 0 ? blockOf(loops) : null;
}

/** Sums of parts as they lie in scratch memory, `[batch, parts, m, n]`: four side by side where results are stored so. */
function partialSums(vectors: boolean, target: KernelTarget): Stored {
  return new Stored("partials", { dtype: "f32" }, vectors ? 4 : 1, target);
}

/** The second dispatch of a product whose sum has parts: an invocation adds those of one result, or of four, in their order. */
function addingParts(product: Product, target: KernelTarget, parts: number): FinishingKernel {
  const { batch, m, n, bias, addend, second } = product, vectors = n % 4 === 0;
  const bound = boundBuffers(product, vectors, target), partials = partialSums(vectors, target);
  const unit = partials.width, size = m * n / unit, lines = grid(batch * size, target);
  const sums = range(parts).map((part) => partials.load(`first + ${part * size}u`));
  const extra = [bias, addend].filter((format) => format).length,
    [afterExtra, result] = [2 + extra, 2 + extra + (second ? 2 : 0)];
  return {
    workgroups: lines.workgroups,
    scratchBytes: Math.ceil(4 * batch * parts * m * n / 16) * 16,
    firstBinds: [0, 1, ...second ? [afterExtra, afterExtra + 1] : []],
    binds: [...range(extra).map((place) => 2 + place), result],
    wgsl: `${buffers([partials, bound.bias, bound.addend], [bound.result])}
${lines.attribute}
fn main(${lines.parameters}) {
${lines.index}
if (i >= ${batch * size}u) { return; }
let matrix = ${divide("i", size)};
let within = i - matrix * ${size}u;
let row = ${divide("within", n / unit)};
let column = (within - row * ${n / unit}u) * ${unit}u;
let first = matrix * ${parts * size}u + within;
let sum = ${sums.join(" + ")};
${product.prologue ?? ""}
${storeLine(product, bound, "row", "column", "sum")}
}
`,
  };
}

/** WGSL that takes the first step of a block apart, once for all its loads, and what they find of it. */
function blockOf({ split }: ProductLoops): { declared: string; setup: string; use: string } {
  const names = Object.keys(split).filter((name) => name !== "inner");
  const inBlock = (name: string) => `block${name[0].toUpperCase()}${name.slice(1)}`;
  return {
    declared: [...names, "shift"].map((name) => `var<private> ${inBlock(name)}: u32;`).join("\n"),
    setup: `{
let step = begin;
${definitions(split)}
${names.map((name) => `${inBlock(name)} = ${name};`).join("\n")}
${inBlock("shift")} = inner - begin;
}`,
    use: [...names.map((name) => `let ${name} = ${inBlock(name)};`), `let inner = step + ${inBlock("shift")};`].join(
      "\n  ",
    ),
  };
}

function definitions(split: ProductLoops["split"]): string {
  return Object.entries(split).map(([name, value]) => `let ${name} = ${value};`).join("\n  ");
}

/** What a function that loads an operand is written from. */
interface Loading {
  readonly product: Product;
  readonly target: KernelTarget;
  readonly block: { readonly use: string } | null;
  /** Every step that is asked for is one of the sum. */
  readonly hasAllSteps: boolean;
  /** Rows or columns of the operand, and whether each that is asked for is one of them. */
  readonly size: number;
  readonly hasAll: boolean;
  /** What is given, f32 when left out; f16 of what is stored so. */
  readonly arithmetic?: TileArithmetic;
  /** Factor on the operand; 1 when left out. */
  readonly factor?: number;
}

/** A function like `loadFunction`'s for two products: steps from `begin` on are the second one's. */
function loadFunctions(
  name: string,
  [first, other]: readonly [TileOperand, TileOperand],
  begin: number,
  at: Loading,
): string {
  const { product } = at, factor = name === "loadA" ? secondFactor(product) : 1;
  return `${loadFunction(`${name}1`, first, { ...at, hasAllSteps: begin === product.k })}
${loadFunction(`${name}2`, other, { ...at, product: { ...product, k: product.second!.k }, factor })}
fn ${name}(at: u32, step: u32) -> vec4f {
  if (step < ${begin}u) { return ${name}1(at, step); }
  return ${name}2(at, step - ${begin}u);
}`;
}

/** WGSL function that reads four neighbours of an operand for a workgroup's tile, zeros outside. */
function loadFunction(name: string, operand: TileOperand, of: Loading): string {
  const { product: { k, prologue, loops }, target, block, size, hasAll, hasAllSteps } = of;
  const { arithmetic = "f32", factor = 1 } = of;
  const { vectors, contiguous, sumStride, valid, setup, locate } = operand;
  const offset = `${operand.offset("at", "0")} + inner * ${sumStride}u`, index = vectors ? divide(offset, 4) : offset;
  const element = arithmetic === "f16" ? `${operand.name}[${index}]` : storedOperand(operand, target).load(index);
  const four = `vec4<${arithmetic}>`, type = vectors ? four : arithmetic, zero = `${type}()`;
  const outside = [hasAll ? "" : `at >= ${size}u`, hasAllSteps ? "" : `step >= ${k}u`].filter((test) => test);
  const read = `fn ${vectors ? name : `${name}Element`}(at: u32, step: u32) -> ${type} {
  ${outside.length > 0 ? `if (${outside.join(" || ")}) { return ${zero}; }` : ""}
  ${prologue ?? ""}
  ${block?.use ?? (loops ? definitions(loops.split) : "let inner = step;")}
  ${setup?.("at", "0") ?? ""}
  ${locate?.("at", "0") ?? ""}
  ${valid ? `if (!(${valid("at", "0", "inner")})) { return ${zero}; }` : ""}
  return ${element}${factor === 1 ? "" : ` * ${float(factor)}`};
}`;
  if (vectors) return read;
  const [next, nextStep] = contiguous === "sum" ? ["at", "step + i"] : ["at + i", "step"];
  // No constant bound: a CPU's compiler would write the loop out, and take four times as long.
  return `${read}
fn ${name}(at: u32, step: u32) -> ${four} {
  var four = ${four}();
  for (var i = 0u; i < select(4u, 0u, at == 0xffffffffu); i++) { four[i] = ${name}Element(${next}, ${nextStep}); }
  return four;
}`;
}
