/** Height and width, in pixels or cells. */
export interface PictureSize {
  readonly height: number;
  readonly width: number;
}

/** A part of a picture, in latent cells. */
export interface Tile extends PictureSize {
  readonly top: number;
  readonly left: number;
}

/** Neighbours share at least this part of a tile, as in diffusers' tiled VAE. */
const overlapPart = 1 / 4;

/**
 * Tiles of one size that cover a picture, row by row, evenly spread; neighbours share a quarter of a tile or more.
 *
 * @param size The picture's, in cells.
 * @param tile The tiles', in cells; not larger than the picture.
 */
export function tilesOf(size: PictureSize, tile: PictureSize): Tile[] {
  const tops = startsOf(size.height, tile.height), lefts = startsOf(size.width, tile.width);
  return tops.flatMap((top) => lefts.map((left) => ({ ...tile, top, left })));
}

function startsOf(length: number, part: number): number[] {
  if (part >= length) return [0];
  const count = Math.ceil((length - part) / Math.floor(part * (1 - overlapPart))) + 1;
  return Array.from({ length: count }, (_, i) => Math.round(i * (length - part) / (count - 1)));
}

/**
 * Puts what was computed for each tile together; where tiles overlap, each fades out towards its own edge.
 *
 * @param tiles As `tilesOf` gives them.
 * @param values Each tile's, `[height, width, channels]`.
 * @param size In cells.
 * @returns `[height, width, channels]`
 */
export function blendTiles(
  tiles: readonly Tile[],
  values: readonly Float32Array[],
  { height, width }: PictureSize,
): Float32Array<ArrayBuffer> {
  const channels = values[0].length / (tiles[0].height * tiles[0].width);
  const sums = new Float64Array(height * width * channels), weights = new Float64Array(height * width);
  for (const [at, tile] of tiles.entries()) {
    const down = fadesOf(tile.top, tile.height, height), across = fadesOf(tile.left, tile.width, width);
    for (let row = 0; row < tile.height; row++) {
      for (let column = 0; column < tile.width; column++) {
        const weight = down[row] * across[column], cell = (tile.top + row) * width + tile.left + column;
        weights[cell] += weight;
        const from = (row * tile.width + column) * channels;
        for (let c = 0; c < channels; c++) sums[cell * channels + c] += weight * values[at][from + c];
      }
    }
  }
  return Float32Array.from(sums, (sum, i) => sum / weights[Math.floor(i / channels)]);
}

/** How much each row (or column) of a tile counts: less towards an edge behind which the picture goes on. */
function fadesOf(start: number, part: number, length: number): number[] {
  const fade = part * overlapPart;
  return Array.from({ length: part }, (_, i) => {
    const before = start > 0 ? (i + 0.5) / fade : 1, after = start + part < length ? (part - i - 0.5) / fade : 1;
    return Math.min(1, before, after);
  });
}
