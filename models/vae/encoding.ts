import { type BufferLimits, checkLimits, input, plan, type Program } from "../../engine/mod.ts";
import type { AutoencoderKL } from "./autoencoder_kl.ts";
import type { PictureSize } from "./tiles.ts";

/** How pictures of one size are encoded: several at once, one by one, or each in tiles. */
export interface Encoding {
  /** Pictures at once; 1 with tiles. */
  readonly batch: number;
  /** Pixels of a tile; null where pictures are encoded whole. */
  readonly tile: PictureSize | null;
  /** What is run for `batch` pictures, or for one tile. */
  readonly program: Program;
}

/** What encoding must keep to. */
export interface EncodingOptions {
  /** Pictures at once, if they fit; 1 when left out. */
  readonly batch?: number;
  /** Bytes that the program may take, weights included; no limit when left out. */
  readonly maxBytes?: number;
  /** What the adapter can hold; not looked at when left out. */
  readonly limits?: BufferLimits;
}

/** Tiles' sides are multiples of it, and no smaller than twice as long, in pixels. */
const tileStep = 64;

/**
 * Finds the fastest way to encode pictures that fits: as many at once as wanted, fewer, or in the largest tiles. Group norms and attention see
 * a tile alone, so its latents differ a little from those of the whole picture.
 *
 * @param size In pixels.
 * @throws {RangeError} If not even the smallest tile fits.
 */
export function planEncoding(model: AutoencoderKL, size: PictureSize, options: EncodingOptions = {}): Encoding {
  const { batch = 1 } = options;
  let problem = "";
  const fitting = (batch: number, tile: PictureSize | null): Encoding | null => {
    const program = encodeProgram(model, batch, tile ?? size);
    problem = problemOf(program, options) ?? "";
    return problem ? null : { batch, tile, program };
  };
  for (let count = batch; count >= 1; count = Math.floor(count / 2)) {
    const found = fitting(count, null);
    if (found) return found;
  }
  const longest = Math.max(size.height, size.width);
  for (let edge = tileStep * (Math.ceil(longest / tileStep) - 1); edge >= 2 * tileStep; edge -= tileStep) {
    const found = fitting(1, { height: Math.min(edge, size.height), width: Math.min(edge, size.width) });
    if (found) return found;
  }
  throw new RangeError(
    `Cannot encode pictures of ${size.width}×${size.height} pixels, not even in tiles of ${2 * tileStep}: ${problem}`,
  );
}

/** Encodes pictures `[batch, height, width, 3]`, fed as `pictures`, to `mean` and `logvar`. */
function encodeProgram(model: AutoencoderKL, batch: number, { height, width }: PictureSize): Program {
  const { mean, logvar } = model.encode(input("pictures", [batch, height, width, 3]));
  return plan({ outputs: { mean, logvar } });
}

function problemOf(program: Program, { maxBytes = Infinity, limits }: EncodingOptions): string | null {
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
