import { deepEqual, equal, ok, rejects, throws } from "node:assert/strict";
import { readdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { decodeImage, readImageBytes } from "../../data/image.ts";
import { kept, readRegions, type RegionCell, regionError } from "./regions.ts";

const demo = fileURLToPath(new URL("../../assets/toy/demo/", import.meta.url));

/** A 32×32 picture, black but for the pixels given as x, y, red, green, blue. */
function picture(...points: [number, number, number, number, number][]) {
  const pixels = new Uint8Array(32 * 32 * 3);
  for (const [x, y, ...rgb] of points) pixels.set(rgb, (y * 32 + x) * 3);
  return { width: 32, height: 32, pixels };
}

async function readFaulty(content: string): Promise<unknown> {
  const path = await Deno.makeTempFile({ suffix: ".json" });
  try {
    await writeFile(path, content);
    return await readRegions(path).then(() => undefined, (error) => error);
  } finally {
    await rm(path);
  }
}

Deno.test("regionError() is the mean over cells and channels of block means' differences", () => {
  // Row 3, column 5 covers x 10 and 11, y 6 and 7. Its red mean is (100 + 200) / 4 = 75, its green mean 40 / 4 = 10.
  const image = picture([10, 6, 100, 40, 0], [11, 7, 200, 0, 0]);
  const cells: RegionCell[] = [{ row: 3, column: 5, rgb: [100, 10, 0] }, { row: 0, column: 0, rgb: [0, 0, 255] }];
  // |75 − 100| / 255 + 255 / 255 over 2 cells × 3 channels.
  equal(regionError(image, cells), (25 / 255 + 1) / 6);
});

Deno.test("regionError() takes means before differences, not differences before the mean", () => {
  // Half of the block at 0, half at 200: the mean is 100, the very colour wanted.
  const image = picture([0, 0, 200, 200, 200], [1, 1, 200, 200, 200]);
  equal(regionError(image, [{ row: 0, column: 0, rgb: [100, 100, 100] }]), 0);
});

Deno.test("regionError() tells rows from columns in pictures that are not square", () => {
  const pixels = new Uint8Array(32 * 16 * 3);
  pixels.fill(255, (1 * 32 + 4) * 3, (1 * 32 + 6) * 3);
  equal(regionError({ width: 32, height: 16, pixels }, [{ row: 1, column: 2, rgb: [255, 255, 255] }]), 0);
});

Deno.test("regionError() refuses pictures that have no 16×16 blocks or too few bytes", () => {
  const cells: RegionCell[] = [{ row: 0, column: 0, rgb: [0, 0, 0] }];
  throws(() => regionError({ width: 30, height: 32, pixels: new Uint8Array(2880) }, cells), /30×32.*multiples of 16/);
  throws(() => regionError({ width: 16, height: 16, pixels: new Uint8Array(7) }, cells), /has 7 bytes, expected 768/);
  throws(() => regionError(picture(), []), /region has no cells/);
});

for (
  const [concept, folder] of [["character", "character/10_sks person"], ["outfit", "outfit/10_zkz clothes"]] as const
) {
  Deno.test(`regionError() of the demo's own ${concept} pictures is next to nothing, and of other people's is not`, async () => {
    const regions = await readRegions(join(demo, "regions.json"));
    const errors = async (folder: string) => {
      const files = (await readdir(join(demo, folder))).filter((file) => file.endsWith(".png"));
      return await Promise.all(files.map(async (file) => {
        const path = join(demo, folder, file);
        return regionError(await decodeImage(await readImageBytes(path), path), regions[concept]);
      }));
    };
    const own = await errors(folder), others = await errors("regularization/1_person");
    equal(own.length, 12);
    ok(Math.max(...own) < 0.005, `largest error of own pictures: ${Math.max(...own)}`);
    ok(others.reduce((sum, error) => sum + error) / others.length > 0.1, `errors of others: ${others}`);
  });
}

Deno.test("readRegions() reads the demo's 154 cells of the character and 28 of the outfit", async () => {
  const { character, outfit } = await readRegions(join(demo, "regions.json"));
  deepEqual([character.length, outfit.length], [154, 28]);
  deepEqual(outfit[0], { row: 13, column: 3, rgb: [123, 63, 160] });
});

Deno.test("readRegions() names the file, the field, what it found and what it expected", async () => {
  const cell = { row: 1, column: 2, rgb: [0, 0, 0] };
  const file = (character: unknown) => JSON.stringify({ character, outfit: [cell] });
  const cases: [string, new (message?: string) => Error, RegExp][] = [
    ["{", SyntaxError, /not JSON/],
    ["[]", TypeError, /the file: found a list, expected an object with character, outfit$/],
    ['{"character": []}', TypeError, /the file: found no outfit/],
    [file([]), RangeError, /character: found an empty list, expected at least one cell/],
    [file({}), TypeError, /character: found an object, expected a list/],
    [file([cell, { ...cell, hue: 1 }]), TypeError, /character\[1\]: found unknown field hue/],
    [file([{ ...cell, row: "1" }]), TypeError, /character\[0\]\.row: found "1", expected a whole number from 0 to 15/],
    [file([{ ...cell, column: 16 }]), RangeError, /character\[0\]\.column: found 16, expected .* to 15/],
    [file([{ ...cell, rgb: [0, 0] }]), TypeError, /character\[0\]\.rgb: found 2 numbers, expected 3/],
    [file([{ ...cell, rgb: [0, 256, 0] }]), RangeError, /character\[0\]\.rgb\[1\]: found 256, expected .* to 255/],
    [file([{ ...cell, rgb: [0, 0.5, 0] }]), RangeError, /rgb\[1\]: found 0.5/],
    [file([cell, cell]), RangeError, /character\[1\]: found row 1, column 2, which an earlier cell has/],
  ];
  for (const [content, kind, message] of cases) {
    const error = await readFaulty(content);
    ok(error instanceof kind, `${content}: ${error}`);
    throws(() => {
      throw error;
    }, /Cannot read regions from \/.*\.json: /);
    throws(() => {
      throw error;
    }, message);
  }
  await rejects(readRegions("/no/such/regions.json"), /no\/such\/regions\.json/);
});

Deno.test("kept() is 1 for the very colours, 0 for what the base does, below 0 for worse, null where the base is perfect", () => {
  deepEqual([kept(0, 0.3), kept(0.3, 0.3), kept(0.6, 0.3)], [1, 0, -1]);
  deepEqual([kept(0.1, 0), kept(0, 0)], [null, null]);
  throws(() => kept(NaN, 1), /picture's is NaN/);
  throws(() => kept(1, NaN), /base's is NaN/);
});
