import { type BufferLimits, checkLimits, type Program } from "../../engine/mod.ts";
import type { PictureSize } from "./tiles.ts";

/** How pictures of one size go through the VAE: several at once, one by one, or each in tiles. */
export interface Fitting {
  /** Pictures at once; 1 with tiles. */
  readonly batch: number;
  /** Size of a tile; null where pictures are taken whole. */
  readonly tile: PictureSize | null;
  /** What is run for `batch` pictures, or for one tile. */
  readonly program: Program;
}

/** What must be kept to. */
export interface FittingOptions {
  /** Pictures at once, if they fit; 1 when left out. */
  readonly batch?: number;
  /** Bytes that the program may take, weights included; no limit when left out. */
  readonly maxBytes?: number;
  /** What the adapter can hold; not looked at when left out. */
  readonly limits?: BufferLimits;
}

/** What is to fit. */
export interface FittingTask {
  /** Of a picture. */
  readonly size: PictureSize;
  /** Tiles' sides are multiples of it, and no smaller than twice as long, but for those of a picture that is smaller. */
  readonly tileStep: number;
  /** Pixels, or cells, of which tiles have a whole number at least: 8 pixels make a cell. */
  readonly unit: number;
  /** Plans what takes so many pictures, or tiles, of a size. */
  readonly program: (batch: number, size: PictureSize) => Program;
  /** What an error begins with: `Cannot encode pictures of 512×512 pixels, not even in tiles of 128`. */
  readonly failure: string;
}

/**
 * Finds the fastest way to take pictures through the VAE that fits: as many at once as wanted, fewer, or in the largest tiles. Group norms and
 * attention see a tile alone, so what becomes of it differs a little from the whole picture's.
 *
 * @throws {RangeError} If not even the smallest tile fits.
 */
export function findFitting({ size, tileStep, unit, program, failure }: FittingTask, options: FittingOptions): Fitting {
  const { batch = 1 } = options;
  let problem = "";
  const fitting = (batch: number, tile: PictureSize | null): Fitting | null => {
    const planned = program(batch, tile ?? size);
    problem = problemOf(planned, options) ?? "";
    return problem ? null : { batch, tile, program: planned };
  };
  for (let count = batch; count >= 1; count = Math.floor(count / 2)) {
    const found = fitting(count, null);
    if (found) return found;
  }
  const longest = Math.max(size.height, size.width);
  for (let edge = tileStep * (Math.ceil(longest / tileStep) - 1); edge >= 2 * tileStep; edge -= tileStep) {
    const side = (length: number) => Math.min(edge, length - length % unit);
    const found = fitting(1, { height: side(size.height), width: side(size.width) });
    if (found) return found;
  }
  throw new RangeError(`${failure}: ${problem}`);
}

function problemOf(program: Program, { maxBytes = Infinity, limits }: FittingOptions): string | null {
  if (program.peakBytes > maxBytes) return `that takes ${program.peakBytes} bytes, the limit is ${maxBytes}`;
  if (limits === undefined) return null;
  try {
    checkLimits(program, limits);
    return null;
  } catch (error) {
    if (error instanceof RangeError) return error.message;
    throw error;
  }
}
