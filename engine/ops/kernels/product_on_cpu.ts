import type { Kernel, KernelTarget } from "../../graph/kernel.ts";
import { isHalf } from "../../graph/types.ts";
import { boundBuffers, type Product, secondFactor, storeLine } from "./product.ts";
import { operandsFor, type ProductSizes, type TileChoice, tileOutputs } from "./register_plan.ts";
import { type RegisterTile, registerTiles, storedOperand } from "./register_tile.ts";
import { buffers } from "./storage.ts";
import { float } from "./wgsl.ts";

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
