import { range, type RegisterTile, type TileOperand } from "./register_tile.ts";

/** A product to choose a register tile for. */
export interface ProductSizes {
  readonly m: number;
  readonly n: number;
  /** Length of the sum, outer loops included. */
  readonly k: number;
  readonly batch: number;
  readonly a: TileOperand;
  readonly b: TileOperand;
  readonly lanes: number;
  /** Results are stored four side by side only. */
  readonly inFours?: boolean;
}

/** A tile's shape; `swapped` when the lanes own rows of the result (columns of its transpose). */
export type TileChoice = Pick<RegisterTile, "rows" | "columns" | "vectors" | "rowOperand" | "columnOperand"> & {
  readonly swapped: boolean;
};

// Nanoseconds of one core for an operation of a whole subgroup, and milliseconds of compiling one, as measured on lavapipe.
const vectorLoad = { run: 9, compile: 9 }, scalarLoad = { run: 3.5, compile: 7 };
const vectorStore = { run: 36, compile: 9 }, scalarStore = { run: 12, compile: 3 };
const product = { run: 0.24, compile: 0.08 }, workgroup = { run: 200, compile: 30 };
const cores = 2;

/**
 * Chooses the tile with the least estimated time of a thousand runs and one compilation: compiling a large tile takes longer than
 * a small product's runs would gain.
 */
export function chooseRegisterTile(sizes: ProductSizes): TileChoice {
  let best: TileChoice | null = null, least = Infinity;
  for (const choice of registerTileChoices(sizes)) {
    const cost = estimate(sizes, choice);
    if (cost < least) [best, least] = [choice, cost];
  }
  return best!;
}

/** A further product's operands as a tile that was chosen for the first one reads them. */
export function operandsFor(
  { swapped, rows, vectors }: TileChoice,
  { a, b, lanes }: Pick<ProductSizes, "a" | "b" | "lanes">,
): Pick<TileChoice, "rowOperand" | "columnOperand"> {
  const [rowOperand, columnOperand] = swapped ? [b, a] : [a, b];
  return {
    rowOperand: rowOperandFor(rowOperand, rows, lanes),
    columnOperand: vectors ? columnOperand : columnOperandFor(columnOperand),
  };
}

function rowOperandFor(operand: TileOperand, rows: number, lanes: number): TileOperand {
  const acrossRows = operand.contiguous === "tile";
  const wholeFours = rows % 4 === 0 && rows / 4 <= lanes && Number.isInteger(Math.log2(rows));
  return { ...operand, vectors: operand.vectors && (!acrossRows || wholeFours) };
}

/** Of columns that a lane owns apart from one another, four-vectors can only lie along the sum. */
function columnOperandFor(operand: TileOperand): TileOperand {
  return { ...operand, vectors: operand.vectors && operand.contiguous === "sum" };
}

/** All tiles that can compute a product. Each adds its terms in the order of the sum, so they give the same bits. */
export function* registerTileChoices({ m, n, a, b, lanes, inFours = false }: ProductSizes): Generator<TileChoice> {
  for (const swapped of [false, true]) {
    const rowCount = swapped ? n : m, columnCount = swapped ? m : n;
    const rowOperand = swapped ? b : a, columnOperand = swapped ? a : b;
    const rowChoices = rowCount <= 16
      ? [...new Set([rowCount, 4, 8].filter((rows) => rows <= rowCount))]
      : [4, 8, 16, 24, 32];
    for (const rows of rowChoices) {
      const left = rowOperandFor(rowOperand, rows, lanes);
      // See `tileOutputs`.
      const canStore = (vectors: boolean) => !inFours || (swapped ? rows % 4 === 0 : vectors);
      if (columnCount % 4 === 0 && columnOperand.tileStride > 0 && canStore(true)) {
        yield { swapped, rows, columns: 4, vectors: true, rowOperand: left, columnOperand };
      }
      if (!canStore(false)) continue;
      for (const columns of [1, 2, 4].filter((count) => count === 1 || (count / 2) * lanes < columnCount)) {
        yield {
          swapped,
          rows,
          columns,
          vectors: false,
          rowOperand: left,
          columnOperand: columnOperandFor(columnOperand),
        };
      }
    }
  }
}

/** Microseconds of a run plus milliseconds of the compilation. */
function estimate({ m, n, k, batch, lanes }: ProductSizes, choice: TileChoice): number {
  const { rows, columns, vectors, rowOperand, columnOperand, swapped } = choice;
  const rowVectors = Math.ceil(rows / lanes), wide = rowOperand.vectors;
  const acrossRows = rowOperand.contiguous === "tile" && wide;
  const counts: [{ run: number; compile: number }, number][] = [
    acrossRows
      ? [vectorLoad, Math.max(1, rows / lanes)]
      : wide
      ? [vectorLoad, rowVectors]
      : [scalarLoad, 4 * rowVectors],
    columnOperand.vectors ? [vectorLoad, columnOperand.contiguous === "sum" ? columns : 4] : [scalarLoad, 4 * columns],
    [product, 4 * rows * columns],
  ];
  const total = (key: "run" | "compile") => counts.reduce((sum, [cost, count]) => sum + cost[key] * count, 0);
  const storedVectors = swapped ? rows % 4 === 0 && n % 4 === 0 : vectors;
  const [store, stores] = storedVectors ? [vectorStore, rows * columns / 4] : [scalarStore, rows * columns];
  const [rowCount, columnCount] = swapped ? [n, m] : [m, n];
  const tiles = Math.ceil(rowCount / rows) * Math.ceil(columnCount / (columns * lanes)) * batch;
  const rounds = tiles < 4 * cores ? Math.ceil(tiles / cores) : tiles / cores;
  const run = rounds * (Math.ceil(k / 4) * total("run") + stores * store.run + workgroup.run) / 1000;
  // Registers that live across the loads' many blocks are what makes compiling slow.
  const compile = workgroup.compile + total("compile") * (0.5 + rows * columns / 64) + stores * store.compile;
  return run + compile;
}

/** Stores of a tile that differ in one number only, `i` in WGSL, which counts from 0 to below the number of values. */
export interface TileOutput {
  readonly values: readonly string[];
  /** Where the value belongs in the result, and under which condition. */
  readonly row: string;
  readonly column: string;
  readonly condition: string;
}

/**
 * The sums of a tile as values to store, in the result's own rows and columns; four-vectors along the columns when `vectors`.
 */
export function tileOutputs(
  tile: RegisterTile & { readonly swapped: boolean },
): { vectors: boolean; outputs: TileOutput[] } {
  const { rows, columns, lanes, swapped, rowCount, columnCount } = tile;
  const rowTail = rowCount % rows !== 0, columnTail = columnCount % (columns * lanes) !== 0;
  const condition = (row: string, column: string) =>
    [rowTail ? `${row} < ${rowCount}u` : "", columnTail ? `${column} < ${columnCount}u` : ""]
      .filter((test) => test).join(" && ");
  const sum = (row: number, c: number) => tile.vectors ? `sum${row}.${"xyzw"[c]}` : `sum${row}_${c}`;
  const ownColumn = tile.vectors ? "firstColumn + lane * 4u" : "firstColumn + lane";
  const beside = tile.vectors ? 1 : lanes;
  const parts = range(Math.ceil(rows / 4)).map((part) => range(rows).slice(part * 4, part * 4 + 4));
  if (!swapped && tile.vectors) {
    const outputs = parts.map((part) => {
      const row = `firstRow + ${part[0]}u + i`;
      return { values: part.map((r) => `sum${r}`), row, column: ownColumn, condition: condition(row, ownColumn) };
    });
    return { vectors: true, outputs };
  }
  if (swapped && rows % 4 === 0 && rowCount % 4 === 0) {
    const outputs = parts.map((part) => {
      const row = `${ownColumn} + i * ${beside}u`, column = `firstRow + ${part[0]}u`;
      const values = range(columns).map((c) => `vec4f(${part.map((r) => sum(r, c)).join(", ")})`);
      return { values, row, column, condition: condition(column, row) };
    });
    return { vectors: true, outputs };
  }
  const outputs = parts.flatMap((part) =>
    range(columns).map((c) => {
      const row = `firstRow + ${part[0]}u + i`, column = `${ownColumn} + ${c * beside}u`;
      const [outRow, outColumn] = swapped ? [column, row] : [row, column];
      return { values: part.map((r) => sum(r, c)), row: outRow, column: outColumn, condition: condition(row, column) };
    })
  );
  return { vectors: false, outputs };
}
