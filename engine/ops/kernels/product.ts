import type { FinishingKernel, Kernel, KernelTarget, WorkgroupTileShape } from "../../graph/kernel.ts";
import { type FloatFormat, isHalf } from "../../graph/types.ts";
import { chooseRegisterTile, operandsFor, type ProductSizes, type TileChoice, tileOutputs } from "./register_plan.ts";
import { range, type RegisterTile, registerTiles, storedOperand, type TileOperand } from "./register_tile.ts";
import { buffers, Stored } from "./storage.ts";
import { divide, float, grid } from "./wgsl.ts";
import {
  chooseWorkgroupTile,
  guardedStore,
  splitLength,
  type TileArithmetic,
  workgroupMemory,
  workgroupSize,
  type WorkgroupSum,
  workgroupTile,
} from "./workgroup_tile.ts";

/** How a sum over several axes runs: outer loops around the inner sum, or one index along all of them. */
export interface ProductLoops {
  /** WGSL that opens and closes the outer loops; `lane` is there to keep their bounds from the unroller. */
  readonly open: string;
  readonly close: string;
  /** Length of the inner sum. */
  readonly length: number;
  /** WGSL that takes the index `step` along the whole sum apart, by name and in order: the outer loops' variables, and `inner`. */
  readonly split: Readonly<Record<string, string>> & { readonly inner: string };
}

/** A batch of matrix products as kernels are generated from it: plain products, and convolutions as implicit ones. */
export interface Product {
  /** Matrices in the batch; `matrix` is the index in WGSL. */
  readonly batch: number;
  /** Rows and columns of a result, and length of the whole sum. */
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly a: TileOperand;
  readonly b: TileOperand;
  readonly bias?: FloatFormat | null;
  readonly addend?: FloatFormat | null;
  /** Element format of the result; f32 when left out. What is stored in pairs needs a number of columns that four divides. */
  readonly result?: FloatFormat;
  readonly scale?: number;
  /** A second product that is added: operands of the same layouts, whose sum is `k` long. */
  readonly second?: { readonly k: number; readonly a: TileOperand; readonly b: TileOperand; readonly scale?: number };
  /** WGSL constants that depend on `matrix` alone. */
  readonly prologue?: string;
  readonly loops?: ProductLoops;
  /** Row of the whole result that row `row` of the product is, and the condition under which there is one. */
  readonly resultRow?: (row: string) => { row: string; condition?: string };
}

/** Kernel for `result = scale * a·b + second + bias + addend`; bindings in the order a, b, bias, addend, second's a and b, result. */
export function productKernel(product: Product, target: KernelTarget): Kernel {
  const kernel = target.cpu && target.subgroupSize > 0
    ? productOnCpu(product, target, chooseRegisterTile(tileSizes(product, target.subgroupSize)))
    : productOnGpu(product, target, chooseWorkgroupTile(workgroupSizes(product, target), target));
  const most = target.maxWorkgroupsPerDimension;
  if (kernel.workgroups.some((count) => count > most)) {
    throw new RangeError(
      `Cannot multiply ${product.m} × ${product.k} by ${product.k} × ${product.n}: that takes ` +
        `${
          kernel.workgroups.join(" × ")
        } workgroups, the adapter runs at most ${most} along an axis; use a smaller batch`,
    );
  }
  return kernel;
}

/** What a CPU's tile is chosen by. */
export function tileSizes({ m, n, k, batch, a, b, result = "f32" }: Product, lanes: number): ProductSizes {
  return { m, n, k, batch, a, b, lanes, inFours: isHalf(result) && n % 4 === 0 };
}

/** A subgroup is a workgroup and sums a tile of the result, or of its transpose, in registers. */
export function productOnCpu(product: Product, target: KernelTarget, choice: TileChoice): Kernel {
  const { batch, m, n, k, loops } = product, lanes = target.subgroupSize;
  const [rowCount, columnCount] = choice.swapped ? [n, m] : [m, n];
  const tile = { ...choice, target, lanes, rowCount, columnCount, sumLength: loops?.length ?? k, ...loops };
  const { second } = product, tiles: RegisterTile[] = [tile];
  if (second) {
    const factor = secondFactor(product), operands = operandsFor(choice, { ...second, lanes });
    tiles.push({ ...tile, ...operands, sumLength: second.k, ...factor === 1 ? {} : { factor: float(factor) } });
  }
  const [first, other] = tiles.map(({ rowOperand, columnOperand }) => {
    const [a, b] = choice.swapped ? [columnOperand, rowOperand] : [rowOperand, columnOperand];
    return [storedOperand(a, target), storedOperand(b, target)];
  });
  const { vectors, outputs } = tileOutputs(tile), bound = boundBuffers(product, vectors, target);
  // In loops, since each store in the text becomes a branch for each lane: it is their number that decides how long a kernel compiles.
  const stores = outputs.map(({ values, row, column, condition }) => {
    const value = values.reduceRight((rest, value, i) => rest ? `select(${rest}, ${value}, i == ${i}u)` : value, "");
    const line = storeLine(product, bound, row, column, value);
    return `for (var i = 0u; i < select(${values.length}u, 0u, lane > ${lanes}u); i++) {
${condition ? `if (${condition}) { ${line} }` : line}
}`;
  });
  return {
    workgroups: [Math.ceil(columnCount / (tile.columns * lanes)), Math.ceil(rowCount / tile.rows), batch],
    wgsl: `${buffers([...first, bound.bias, bound.addend, ...other ?? []], [bound.result])}
@compute @workgroup_size(${lanes})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(subgroup_invocation_id) lane: u32) {
let matrix = group.z;
let firstColumn = group.x * ${tile.columns * lanes}u;
let firstRow = group.y * ${tile.rows}u;
${product.prologue ?? ""}
${registerTiles(tiles)}
${stores.join("\n")}
}
`,
  };
}

/** Where the second sum begins: at a multiple of four, so that no four-vector reads from both. */
function secondBegin({ k }: Product): number {
  return Math.ceil(k / 4) * 4;
}

/** What a GPU's tile is chosen by. */
function workgroupSizes(product: Product, target: KernelTarget) {
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

/** Factor on the second product before the whole sum is scaled. */
function secondFactor({ second, scale = 1 }: Product): number {
  return (second?.scale ?? 1) / scale;
}

/** What is bound beside the operands, four elements at a time when `vectors`. */
function boundBuffers({ bias, addend, result = "f32" }: Product, vectors: boolean, target: KernelTarget) {
  const stored = (name: string, dtype: FloatFormat) => storedOperand({ name, dtype, vectors }, target);
  return {
    bias: bias ? stored("bias", bias) : null,
    addend: addend ? stored("addend", addend) : null,
    result: stored("result", result),
  };
}

/** Stores one value, or four side by side, with scale, bias and addend. */
function storeLine(
  product: Product,
  { bias, addend, result }: ReturnType<typeof boundBuffers>,
  row: string,
  column: string,
  value: string,
): string {
  const { batch, m, n, scale = 1 } = product, unit = result.width;
  const place = product.resultRow?.(row) ?? { row: batch > 1 ? `matrix * ${m}u + ${row}` : row };
  const terms = [
    scale === 1 ? value : `${value} * ${float(scale)}`,
    bias?.load(divide(column, unit)) ?? "",
    addend?.load("index") ?? "",
  ];
  const line = `let index = (${place.row}) * ${n / unit}u + ${divide(column, unit)}; ` +
    result.store("index", terms.filter((term) => term).join(" + "));
  return place.condition ? `if (${place.condition}) { ${line} }` : `{ ${line} }`;
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
