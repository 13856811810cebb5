import type { KernelTarget } from "../../graph/kernel.ts";
import type { ReadFormat } from "../../graph/types.ts";
import { Stored } from "./storage.ts";
import { divide, modulo } from "./wgsl.ts";

/** A matrix operand as the inner loop of a register tile sees it. The tile's axis is its rows or columns, the other one is summed over. */
export interface TileOperand {
  /** Name of the buffer. */
  readonly name: string;
  readonly dtype: ReadFormat;
  /** Axis along which neighbours lie side by side in the buffer: the summed one, or the tile's own. */
  readonly contiguous: "sum" | "tile";
  /** The buffer is bound as four-vectors along the contiguous axis. */
  readonly vectors: boolean;
  /** Elements from one step of the sum to the next. */
  readonly sumStride: number;
  /** Elements from one row (or column) of the tile to the next. */
  readonly tileStride: number;
  /** WGSL before all loops, once for each row or column that a lane owns: `at` names its index, `id` makes names unique. */
  readonly setup?: (at: string, id: string) => string;
  /** WGSL inside the outer loops, once for each row or column that a lane owns. */
  readonly locate?: (at: string, id: string) => string;
  /** Element offset of (`at`, first step of the sum), evaluated inside the outer loops. */
  readonly offset: (at: string, id: string) => string;
  /** Condition under which the element counts; it is zero otherwise. `step` is the index along the sum. */
  readonly valid?: (at: string, id: string, step: string) => string;
}

/** A tile of a matrix product that one subgroup keeps in registers. */
export interface RegisterTile {
  readonly target: Pick<KernelTarget, "f16">;
  /** Invocations of the subgroup. */
  readonly lanes: number;
  /** Rows of the tile: their operand is loaded by the lanes together and broadcast. */
  readonly rows: number;
  /** Columns that a lane owns: four side by side when `vectors`, else this many, `lanes` apart. */
  readonly columns: number;
  readonly vectors: boolean;
  /** Rows and columns of the whole product, and length of the inner sum. */
  readonly rowCount: number;
  readonly columnCount: number;
  readonly sumLength: number;
  readonly rowOperand: TileOperand;
  readonly columnOperand: TileOperand;
  /** WGSL around the inner sum, for a sum over several axes: `{` … `}` of the outer loops. */
  readonly open?: string;
  readonly close?: string;
  /** Factor on this product; 1 when left out. */
  readonly factor?: string;
}

const components = ["x", "y", "z", "w"];

/** How an operand is read. */
export function storedOperand(
  { name, dtype, vectors }: Pick<TileOperand, "name" | "dtype" | "vectors">,
  target: Pick<KernelTarget, "f16">,
): Stored {
  return new Stored(name, { dtype }, vectors ? 4 : 1, target);
}

/**
 * WGSL that sums tiles of matrix products of one size in registers, one after another into the same sums. See `registerTile`.
 *
 * All products share rows, columns, lanes and vectors; each has its own operands and length of the sum.
 */
export function registerTiles([first, ...others]: readonly RegisterTile[]): string {
  return [registerTile(first), ...others.map((tile) => `{\n${registerTile(tile, { continues: true })}\n}`)].join("\n");
}

/**
 * WGSL that sums a tile of a matrix product in registers, without workgroup memory or barriers: for CPU adapters, where these cost
 * the most and a broadcast costs next to nothing.
 *
 * Expects `lane`, `firstRow` and `firstColumn` (u32). Leaves `column` (or `column0`, `column1`, …), the lane's first column, and the sums
 * `sum0`, `sum1`, … of each row: four-vectors when `tile.vectors`, else `sum0_0`, `sum0_1`, ….
 *
 * A lane loads as much as the others, and each load is used by the whole subgroup, so a step of `rows × 4 lanes` products costs
 * `rows / lanes + 4` loads. The sum is unrolled by four.
 */
function registerTile(tile: RegisterTile, { continues = false } = {}): string {
  const { rows, columns, vectors, lanes, sumLength } = tile;
  const accumulators = range(rows).map((row) =>
    vectors ? `var sum${row} = vec4f();` : range(columns).map((c) => `var sum${row}_${c} = 0.0;`).join(" ")
  );
  const left = rowLoads(tile), right = columnLoads(tile);
  const fours = Math.floor(sumLength / 4), rest = sumLength % 4;
  const block = (four: string, steps: number) => {
    const lines = [...left.before(four, steps), ...right.before(four, steps)];
    lines.push(...range(steps).flatMap((step) => right.at(four, step)));
    // A sum takes all its steps at once: there are more sums than registers, and so each goes to memory and back once in four steps.
    for (let row = 0; row < rows; row++) {
      for (let step = 0; step < steps; step++) {
        lines.push(`let f${step}_${row} = ${left.value(row, step)}${tile.factor ? ` * ${tile.factor}` : ""};`);
      }
      const sums = vectors ? [""] : range(columns).map((c) => `_${c}`);
      for (const c of sums) {
        for (let step = 0; step < steps; step++) {
          const factor = vectors ? `vec4f(f${step}_${row})` : `f${step}_${row}`;
          lines.push(`sum${row}${c} = fma(${factor}, b${step}${c}, sum${row}${c});`);
        }
      }
    }
    return lines.join("\n");
  };
  const loop = fours === 1 ? `{\n${block("0u", 4)}\n}` : fours > 1
    // The bound is no constant to the compiler: unrolling the loop once more makes it compile many times longer.
    ? `for (var four = 0u; four < select(${fours}u, 0u, lane > ${lanes}u); four++) {\n${block("four", 4)}\n}`
    : "";
  const tail = rest ? `{\n${block(`${fours}u`, rest)}\n}` : "";
  const columnVariables = vectors
    ? `let column = min(firstColumn + lane * 4u, ${tile.columnCount - 4}u);`
    : range(columns).map((c) => `let column${c} = min(firstColumn + lane + ${c * lanes}u, ${tile.columnCount - 1}u);`)
      .join("\n");
  return [
    left.rows,
    columnVariables,
    left.setup,
    right.setup,
    ...continues ? [] : accumulators,
    tile.open ?? "",
    left.offsets,
    right.offsets,
    loop,
    tail,
    tile.close ?? "",
  ].filter((line) => line).join("\n");
}

/** The loads of the operand whose values are broadcast. */
function rowLoads({ rows, lanes, rowCount, rowOperand: operand, target }: RegisterTile) {
  const stored = storedOperand(operand, target);
  const { contiguous, vectors, sumStride } = operand;
  const acrossRows = contiguous === "tile" && vectors;
  // Across rows: a load fetches four rows of `groups` groups, for `steps` steps of the sum at once.
  const groups = rows / 4, steps = Math.min(4, lanes / groups);
  const ids = range(acrossRows ? 1 : Math.ceil(rows / lanes)).map((v) => `A${v}`);
  const load = (id: string, four: string, step: number) =>
    read(
      operand,
      stored,
      `row${id}`,
      id,
      four,
      step,
      `offset${id}`,
      acrossRows ? ` + step${id} * ${sumStride / 4}u` : "",
      acrossRows ? ` + step${id}` : "",
    );
  return {
    rows: acrossRows
      ? `let rowA0 = min(firstRow + ${modulo("lane", groups)} * 4u, ${rowCount - 4}u);\nlet stepA0 = ${
        modulo(divide("lane", groups), steps)
      };`
      : ids.map((id, v) => `let row${id} = min(firstRow + lane + ${v * lanes}u, ${rowCount - 1}u);`).join("\n"),
    setup: ids.map((id) => operand.setup?.(`row${id}`, id) ?? "").join("\n"),
    offsets: ids.map((id) => offset(operand, `row${id}`, id)).join("\n"),
    before: (four: string, count: number) => {
      if (acrossRows) {
        return range(Math.ceil(count / steps)).map((part) => `let a${part} = ${load("A0", four, part * steps)};`);
      }
      if (contiguous === "sum" && vectors) return ids.map((id, v) => `let a${v} = ${load(id, four, 0)};`);
      return range(count).flatMap((step) => ids.map((id, v) => `let a${v}_${step} = ${load(id, four, step)};`));
    },
    value: (row: number, step: number) => {
      if (acrossRows) {
        const source = (step % steps) * groups + Math.floor(row / 4);
        return `subgroupBroadcast(a${Math.floor(step / steps)}.${components[row % 4]}, ${source}u)`;
      }
      const vector = `a${Math.floor(row / lanes)}`;
      const name = contiguous === "sum" && vectors ? `${vector}.${components[step]}` : `${vector}_${step}`;
      return `subgroupBroadcast(${name}, ${row % lanes}u)`;
    },
  };
}

/** The loads of the operand that each lane has for its own columns. */
function columnLoads({ columns, vectors: tileVectors, columnOperand: operand, target }: RegisterTile) {
  const stored = storedOperand(operand, target);
  const { contiguous, vectors, tileStride } = operand;
  const alongSum = contiguous === "sum" && vectors;
  const ids = tileVectors ? ["B"] : range(columns).map((c) => `B${c}`);
  const index = (id: string) => `column${id.slice(1)}`;
  const column = (c: number, four: string, step: number) => {
    if (!tileVectors) return read(operand, stored, index(`B${c}`), `B${c}`, four, step, `offsetB${c}`, "");
    const beside = c === 0 ? "" : ` + ${alongSum ? tileStride / 4 * c : tileStride * c}u`;
    return read(operand, stored, "column", "B", four, step, "offsetB", beside);
  };
  return {
    setup: ids.map((id) => operand.setup?.(index(id), id) ?? "").join("\n"),
    offsets: ids.map((id) => offset(operand, index(id), id)).join("\n"),
    before: (four: string, _count: number) =>
      alongSum ? range(columns).map((c) => `let w${c} = ${column(c, four, 0)};`) : [],
    at: (four: string, step: number) => {
      const component = components[step];
      if (tileVectors) {
        if (alongSum) return [`let b${step} = vec4f(${range(4).map((c) => `w${c}.${component}`).join(", ")});`];
        if (vectors) return [`let b${step} = ${column(0, four, step)};`];
        return [`let b${step} = vec4f(${range(4).map((c) => column(c, four, step)).join(", ")});`];
      }
      return range(columns).map((c) =>
        `let b${step}_${c} = ${alongSum ? `w${c}.${component}` : column(c, four, step)};`
      );
    },
  };
}

/** `let offset…`, in elements of the buffer as it is bound. */
function offset(operand: TileOperand, at: string, id: string): string {
  const elements = operand.offset(at, id);
  const located = operand.locate?.(at, id) ?? "";
  // An offset may lie before the buffer as long as no step reads there, so its sign must survive the shift.
  return `${located}\nlet offset${id} = ${
    operand.vectors ? `bitcast<u32>(bitcast<i32>(${elements}) >> 2u)` : elements
  };`;
}

function read(
  operand: TileOperand,
  stored: Stored,
  at: string,
  id: string,
  four: string,
  step: number,
  offset: string,
  beside: string,
  ahead = "",
): string {
  const { vectors, sumStride, contiguous, valid } = operand;
  const unit = vectors ? sumStride / 4 : sumStride;
  const along = vectors && contiguous === "sum" ? four : `${four} * ${unit * 4}u + ${unit * step}u`;
  const value = stored.load(`${offset} + ${along}${beside}`);
  if (!valid) return value;
  return `select(${vectors ? "vec4f()" : "0.0"}, ${value}, ${valid(at, id, `(${four} * 4u + ${step}u${ahead})`)})`;
}

/** The numbers from 0 to below `count`. */
export function range(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i);
}
