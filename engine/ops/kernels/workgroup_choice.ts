import { type KernelTarget, mostScratchBytes, type WorkgroupTileShape } from "../../graph/kernel.ts";
import {
  columnsEach,
  invocationsEach,
  rowsEach,
  type TileArithmetic,
  workgroupBytes,
  workgroupSize,
} from "./workgroup_tile.ts";

/** A product as a tile is chosen for it. */
export interface WorkgroupSizes {
  readonly rows: number;
  readonly columns: number;
  readonly sum: number;
  readonly batch: number;
  /** What its sums are multiplied in; the first counts most. f32 when left out. */
  readonly arithmetics?: readonly TileArithmetic[];
}

/** Rows, columns and depth of tiles that are tried: the smallest has few invocations, which would have much to load for 16 steps. */
const tried = [
  [128, 64, 16],
  [64, 64, 16],
  [64, 32, 16],
  [32, 64, 16],
  [64, 16, 16],
  [16, 64, 16],
  [32, 32, 16],
  [16, 16, 8],
] as const;

/** Tiles that are tried beside them where halves are multiplied two at a time: what else an invocation does then counts twice. */
const triedInHalves = [[128, 128], [128, 64], [64, 64]] as const;

/** The tile of a product's kernel on a GPU: the first by counts, unless the target says one. */
export function chooseWorkgroupTile(sizes: WorkgroupSizes, target: KernelTarget): WorkgroupTileShape {
  return target.tile ?? tilesByCounts(sizes, target, 1)[0];
}

/**
 * Tiles for a product of these sizes, by counts: first what takes the least time, by the share of an invocation's instructions that multiply and add, which falls with the
 * tile's size, and the share of a card's processors that are busy, which grows with the number of workgroups. These are more where several sum parts of a tile's sum, which
 * a second dispatch adds. A long sum of few workgroups is split between the invocations of each.
 *
 * @param most How many; all that the target takes when left out.
 */
export function tilesByCounts(sizes: WorkgroupSizes, target: KernelTarget, most?: number): WorkgroupTileShape[] {
  const { arithmetics = ["f32"] } = sizes;
  const fits = (shape: WorkgroupTileShape) =>
    workgroupSize(shape) <= Math.min(target.maxInvocations, mostInvocations) &&
    workgroupBytes(shape, arithmetics) <= Math.min(target.maxWorkgroupStorageBytes, mostBytes);
  const split = (shape: ChosenTile): ChosenTile => {
    const next = { ...shape, splits: shape.splits * 2 };
    const isWanted = workgroupCount(shape, sizes) * workgroupSize(shape) < enoughInvocations &&
      sizes.sum >= shape.parts * shape.splits * fewestSteps;
    return isWanted && fits(next) ? split(next) : shape;
  };
  const shapes: Omit<ChosenTile, "parts">[] = tried.map(([rows, columns, depth]) => (
    { rows, columns, depth, splits: 1, rowsEach: 4 }
  ));
  if (isInHalves(sizes)) {
    shapes.push(
      ...triedInHalves.map(([rows, columns]) => ({ rows, columns, depth: 16, splits: 1, rowsEach: 8 as const })),
    );
  }
  const candidates = shapes.flatMap((shape) => partCounts(sizes).map((parts) => ({ ...shape, parts }))).filter(fits);
  return candidates.toSorted((a, b) => duration(a, sizes) - duration(b, sizes)).slice(0, most).map(split);
}

type ChosenTile = Required<WorkgroupTileShape>;

function isInHalves({ arithmetics }: WorkgroupSizes): boolean {
  return arithmetics?.[0] === "f16";
}

/** More invocations in a workgroup leave too few registers to each. */
const mostInvocations = 256;
/** Workgroup memory with which four workgroups fit on a processor of 100 KB at once: while one waits for memory, others compute. */
const mostBytes = 24 * 1024;
/** Cards have some 28 to 132 processors. */
const processors = 64;
/** Below this many a long sum is split: 256 for each processor. */
const enoughInvocations = processors * 256;
/** Instructions that one four-vector costs from a buffer to workgroup memory, and what it weighs on caches. */
const loadInstructions = 40;
/** Steps of a sum that are worth the beginning and the end of a part. */
const fewestSteps = 256;
/** What a second dispatch costs, in multiply-adds of a card: 4 µs at 20 of them in a picosecond. */
const dispatchCost = 8e7;
/** … and one number that is written and read again: 8 bytes at 800 GB/s. */
const partCost = 200;

/** Into how many parts, each for workgroups of its own, a sum may be taken apart. */
function partCounts({ rows, columns, batch, sum }: WorkgroupSizes): number[] {
  const partBytes = 4 * rows * columns * batch;
  return [1, 2, 3, 4, 6, 8, 12, 16, 24, 32].filter((parts) =>
    parts === 1 || sum >= parts * fewestSteps && parts * partBytes <= mostScratchBytes
  );
}

function tileCount({ rows, columns }: WorkgroupTileShape, sizes: WorkgroupSizes): number {
  return Math.ceil(sizes.rows / rows) * Math.ceil(sizes.columns / columns) * sizes.batch;
}

function workgroupCount(shape: ChosenTile, sizes: WorkgroupSizes): number {
  return tileCount(shape, sizes) * shape.parts;
}

/** How long a product takes with a tile, in multiply-adds of a whole card. */
function duration(shape: ChosenTile, sizes: WorkgroupSizes): number {
  const { rows, columns, depth, parts } = shape, workgroups = workgroupCount(shape, sizes);
  const down = rowsEach(shape), across = columnsEach(shape), sums = down * across, inHalves = isInHalves(sizes);
  const reads = depth * (down + across) / 4, loads = (depth / 4) * (rows + columns) / invocationsEach(shape);
  // Halves are multiplied two at a time; each of a block's sums of them is then converted and added.
  const arithmetic = inHalves ? depth * sums / 2 + 2 * sums : depth * sums;
  const multiplying = depth * sums / (arithmetic + reads + loads * loadInstructions);
  // When the last workgroups run, half of the processors have nothing to do on average.
  const busy = workgroups / (workgroups + processors / 2);
  const adding = parts === 1 ? 0 : dispatchCost + parts * sizes.rows * sizes.columns * sizes.batch * partCost;
  return tileCount(shape, sizes) * rows * columns * sizes.sum / (multiplying * busy) + adding;
}
