import { readPlainText } from "../../formats/plain_file.ts";
import type { RgbImage } from "../../data/image.ts";

/** Cells per side of the grid that pictures are reduced to. */
const regionGridSize = 16;

/** One cell of the 16×16 grid and the colour that a concept gives it. */
export interface RegionCell {
  /** From the top, 0…15. */
  readonly row: number;
  /** From the left, 0…15. */
  readonly column: number;
  /** Red, green and blue, 0…255 each. */
  readonly rgb: readonly [number, number, number];
}

/** The cells that each concept alone decides, whatever else is in the picture. */
export interface Regions {
  readonly character: readonly RegionCell[];
  readonly outfit: readonly RegionCell[];
}

/**
 * Reads the cells that character and outfit decide, as `{"character": [{"row", "column", "rgb"}], "outfit": […]}`.
 *
 * @throws {SyntaxError} If the file is not JSON.
 * @throws {TypeError} If a field is missing, unknown or of a wrong kind: the error names the file and the field.
 * @throws {RangeError} If a cell or colour is outside its range, a cell comes twice, or a region is empty.
 */
export async function readRegions(path: string): Promise<Regions> {
  const text = await readPlainText(path);
  let content: unknown;
  try {
    content = JSON.parse(text);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new SyntaxError(`Cannot read regions from ${path}: not JSON (${reason})`, { cause: error });
  }
  const reader = new RegionReader(path);
  const { character, outfit } = reader.fields(content, "the file", ["character", "outfit"]);
  return { character: reader.region(character, "character"), outfit: reader.region(outfit, "outfit") };
}

/** Checks values field by field; every error names the file and the field. */
class RegionReader {
  constructor(private readonly path: string) {}

  region(value: unknown, name: string): RegionCell[] {
    const cells = this.list(value, name).map((cell, index) => this.cell(cell, `${name}[${index}]`));
    if (cells.length === 0) throw new RangeError(this.problem(name, "an empty list", "at least one cell"));
    const seen = new Set<number>();
    for (const [index, { row, column }] of cells.entries()) {
      const place = row * regionGridSize + column;
      if (seen.has(place)) {
        const found = `row ${row}, column ${column}, which an earlier cell has`;
        throw new RangeError(this.problem(`${name}[${index}]`, found, "every cell once"));
      }
      seen.add(place);
    }
    return cells;
  }

  cell(value: unknown, field: string): RegionCell {
    const { row, column, rgb } = this.fields(value, field, ["row", "column", "rgb"]);
    const colour = this.list(rgb, `${field}.rgb`);
    if (colour.length !== 3) {
      throw new TypeError(this.problem(`${field}.rgb`, `${colour.length} numbers`, "3: red, green, blue"));
    }
    const [red, green, blue] = colour.map((part, index) => this.integer(part, `${field}.rgb[${index}]`, 255));
    return {
      row: this.integer(row, `${field}.row`, regionGridSize - 1),
      column: this.integer(column, `${field}.column`, regionGridSize - 1),
      rgb: [red, green, blue],
    };
  }

  integer(value: unknown, field: string, highest: number): number {
    const wanted = `a whole number from 0 to ${highest}`;
    if (typeof value !== "number") throw new TypeError(this.problem(field, kindOf(value), wanted));
    if (!Number.isInteger(value) || value < 0 || value > highest) {
      throw new RangeError(this.problem(field, String(value), wanted));
    }
    return value;
  }

  list(value: unknown, field: string): unknown[] {
    if (!Array.isArray(value)) throw new TypeError(this.problem(field, kindOf(value), "a list"));
    return value;
  }

  fields<Name extends string>(value: unknown, field: string, names: readonly Name[]): Record<Name, unknown> {
    const wanted = `an object with ${names.join(", ")}`;
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      throw new TypeError(this.problem(field, kindOf(value), wanted));
    }
    const missing = names.find((name) => !Object.hasOwn(value, name));
    if (missing !== undefined) throw new TypeError(this.problem(field, `no ${missing}`, wanted));
    const unknown = Object.keys(value).find((name) => !names.some((known) => known === name));
    if (unknown !== undefined) throw new TypeError(this.problem(field, `unknown field ${unknown}`, wanted));
    return value as Record<Name, unknown>;
  }

  private problem(field: string, found: string, wanted: string): string {
    return `Cannot read regions from ${this.path}: ${field}: found ${found}, expected ${wanted}`;
  }
}

function kindOf(value: unknown): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return "a list";
  return typeof value === "object" ? "an object" : `${JSON.stringify(value)}`;
}

/**
 * How far a picture is from a region's colours: mean absolute difference over cells and channels, colours in 0…1.
 *
 * The picture is reduced to 16×16 by block means first (8×8 pixels a block at 128×128).
 *
 * @param picture RGB bytes; width and height are multiples of 16.
 * @returns 0 (the very colours) to 1.
 * @throws {TypeError} If width or height is no multiple of 16, or the pixels are not width × height × 3 bytes.
 * @throws {RangeError} If the region is empty.
 * @example
 * ```ts
 * import { equal } from "node:assert/strict";
 * const picture = { width: 16, height: 16, pixels: new Uint8Array(16 * 16 * 3).fill(51) };
 * equal(regionError(picture, [{ row: 2, column: 3, rgb: [51, 0, 51] }]).toFixed(4), (0.2 / 3).toFixed(4));
 * ```
 */
export function regionError(picture: RgbImage, region: readonly RegionCell[]): number {
  const { width, height, pixels } = picture;
  if (width < 1 || height < 1 || width % regionGridSize !== 0 || height % regionGridSize !== 0) {
    throw new TypeError(`Cannot measure a picture of ${width}×${height} pixels: both must be multiples of 16`);
  }
  if (pixels.length !== width * height * 3) {
    const wanted = `${width * height * 3} (RGB, ${width}×${height})`;
    throw new TypeError(`Cannot measure a picture: it has ${pixels.length} bytes, expected ${wanted}`);
  }
  if (region.length === 0) throw new RangeError("Cannot measure a picture: the region has no cells");
  let difference = 0;
  for (const { row, column, rgb } of region) {
    for (let channel = 0; channel < 3; channel++) {
      difference += Math.abs(blockMean(picture, row, column, channel) - rgb[channel]) / 255;
    }
  }
  return difference / (region.length * 3);
}

/** Mean of one channel over one block of the grid, 0…255. */
function blockMean({ width, height, pixels }: RgbImage, row: number, column: number, channel: number): number {
  const blockWidth = width / regionGridSize, blockHeight = height / regionGridSize;
  let sum = 0;
  for (let y = row * blockHeight; y < (row + 1) * blockHeight; y++) {
    for (let x = column * blockWidth; x < (column + 1) * blockWidth; x++) sum += pixels[(y * width + x) * 3 + channel];
  }
  return sum / (blockWidth * blockHeight);
}

/**
 * What share of a concept a picture has: `1 − E / E₀`. 1 is perfect, 0 is what the base does by itself, below 0 is worse than that; null where the base's error is 0:
 * it has the very colours without any LoRA, and there is nothing to take a share of.
 *
 * @param error `regionError` of the picture, or its mean over several.
 * @param baseError The same for the base without any LoRA, same prompt, same seed.
 * @throws {RangeError} If an error is negative or not a number.
 * @example
 * ```ts
 * import { equal } from "node:assert/strict";
 * equal(kept(0.1, 0.4), 0.75);
 * ```
 */
export function kept(error: number, baseError: number): number | null {
  if (!(error >= 0)) throw new RangeError(`Cannot compare errors: the picture's is ${error}, must be 0 or more`);
  if (!(baseError >= 0)) throw new RangeError(`Cannot compare errors: the base's is ${baseError}, must be 0 or more`);
  return baseError === 0 ? null : 1 - error / baseError;
}
