import { deepEqual, equal, ok } from "node:assert/strict";
import { blendTiles, tilesOf } from "./tiles.ts";

Deno.test("tilesOf() covers a picture with tiles that share a quarter or more, row by row", () => {
  const tile = { height: 64, width: 64 };
  deepEqual(tilesOf({ height: 64, width: 64 }, tile), [{ ...tile, top: 0, left: 0 }]);
  // 128 cells: two tiles of 64 would share nothing, so there are three.
  deepEqual(tilesOf({ height: 64, width: 128 }, tile).map(({ left }) => left), [0, 32, 64]);
  deepEqual(tilesOf({ height: 96, width: 112 }, tile).map(({ top, left }) => [top, left]), [[0, 0], [0, 48], [32, 0], [
    32,
    48,
  ]]);
  for (let length = 16; length <= 200; length++) {
    const starts = tilesOf({ height: length, width: 16 }, { height: 16, width: 16 }).map(({ top }) => top);
    equal(starts[0], 0);
    equal(starts.at(-1), length - 16);
    ok(starts.every((start, i) => i === 0 || start - starts[i - 1] <= 12), `${length}: ${starts}`);
  }
});

Deno.test("blendTiles() fades from one tile to the next", () => {
  // A row of 6 cells in tiles of 4 that share cells 2 and 3; the outer quarter of a tile, one cell, counts half.
  const tiles = tilesOf({ height: 1, width: 6 }, { height: 1, width: 4 });
  deepEqual(tiles.map(({ left }) => left), [0, 2]);
  const blended = blendTiles(tiles, [new Float32Array(4), new Float32Array(4).fill(3)], { height: 1, width: 6 });
  // Cell 2: (1 · 0 + ½ · 3) / 1½; cell 3: (½ · 0 + 1 · 3) / 1½.
  deepEqual([...blended], [0, 0, 1, 2, 3, 3]);
});

Deno.test("blendTiles() gives what all tiles agree on, channel by channel", () => {
  const size = { height: 40, width: 56 }, tiles = tilesOf(size, { height: 16, width: 24 });
  const value = (row: number, column: number, channel: number) => 100 * channel + row + column / 64;
  const values = tiles.map(({ top, left, height, width }) =>
    Float32Array.from({ length: height * width * 4 }, (_, i) => {
      const cell = Math.floor(i / 4);
      return value(top + Math.floor(cell / width), left + cell % width, i % 4);
    })
  );
  const blended = blendTiles(tiles, values, size);
  equal(blended.length, 40 * 56 * 4);
  blended.forEach((found, i) => {
    const cell = Math.floor(i / 4), wanted = value(Math.floor(cell / 56), cell % 56, i % 4);
    ok(Math.abs(found - wanted) < 1e-4, `${i}: ${found}, wanted ${wanted}`);
  });
});
