import { deepEqual, equal, ok, rejects, throws } from "node:assert/strict";
import { createHash } from "node:crypto";
import { join } from "node:path";
import sharp from "sharp";
import { decodeBmp } from "./bmp.ts";
import { decodeImage, readImage, readImageBytes, type RgbImage } from "./image.ts";
import { ImageError } from "./image_error.ts";

const folder = join(import.meta.dirname!, "../tests/golden/files/images");

interface GoldenPicture {
  readonly size: [number, number];
  readonly mean: number[];
  readonly quarters?: number[][];
  readonly sha256?: string;
  readonly tolerance?: number;
  readonly error?: string;
  readonly may_load?: boolean;
}

const pictures: Record<string, GoldenPicture> = JSON.parse(
  await Deno.readTextFile(join(folder, "expected.json")),
).files;

function mean(image: RgbImage, left = 0, top = 0, width = image.width, height = image.height): number[] {
  const sums = [0, 0, 0];
  for (let y = top; y < top + height; y++) {
    for (let x = left; x < left + width; x++) {
      for (let c = 0; c < 3; c++) sums[c] += image.pixels[(y * image.width + x) * 3 + c];
    }
  }
  return sums.map((sum) => sum / (width * height));
}

function near(found: number[], expected: number[], tolerance: number, what: string): void {
  expected.forEach((value, at) => {
    ok(Math.abs(value - found[at]) <= tolerance, `${what}: found ${found}, expected ${expected}`);
  });
}

Deno.test("readImage() gives the pixels that Pillow gives, turned by EXIF", async () => {
  let read = 0;
  for (const [name, expected] of Object.entries(pictures)) {
    if (expected.error !== undefined) continue;
    const image = await readImage(join(folder, name));
    deepEqual([image.width, image.height], expected.size, name);
    equal(image.pixels.length, image.width * image.height * 3, name);
    // Means of exactly decoded pictures are given with three decimals; 16-bit grey may be rounded up or down.
    const tolerance = expected.tolerance ?? (name === "grey_16bit.png" ? 0.51 : 0.001);
    near(mean(image), expected.mean, tolerance, name);
    const [halfWidth, halfHeight] = [image.width >> 1, image.height >> 1];
    const corners = [0, image.height - halfHeight].flatMap((y) => [0, image.width - halfWidth].map((x) => [x, y]));
    expected.quarters?.forEach((quarter, at) => {
      const [x, y] = corners[at];
      near(mean(image, x, y, halfWidth, halfHeight), quarter, tolerance, `${name}, quarter ${at}`);
    });
    if (expected.sha256 !== undefined) {
      equal(createHash("sha256").update(image.pixels).digest("hex"), expected.sha256, name);
    }
    read++;
  }
  equal(read, 45);
});

Deno.test("readImage() names the file and the fault of a bad picture", async () => {
  let refused = 0;
  for (const [name, { error }] of Object.entries(pictures)) {
    if (error === undefined) continue;
    const path = join(folder, name);
    await rejects(readImage(path), (thrown: unknown) => {
      ok(thrown instanceof ImageError, name);
      equal(thrown.fault, error, name);
      equal(thrown.file, path);
      ok(thrown.message.startsWith(`Cannot read image ${path}: `), thrown.message);
      return true;
    });
    refused++;
  }
  equal(refused, 9);
});

Deno.test("readImage() names a file that is not there", async () => {
  await rejects(
    readImage("/no/such.png"),
    (error: unknown) => error instanceof ImageError && error.fault === "missing",
  );
  await rejects(readImageBytes(folder), /Cannot read image .*images: the file cannot be opened/);
});

Deno.test("decodeImage() ignores colour profiles", async () => {
  const grey = { create: { width: 4, height: 4, channels: 3 as const, background: { r: 200, g: 40, b: 90 } } };
  const plain = await decodeImage(await sharp(grey).png().toBuffer(), "plain");
  const tagged = await sharp(grey).withIccProfile("p3", { attach: true }).png().toBuffer();
  const stored = await sharp(tagged, { ignoreIcc: true }).raw().toBuffer();
  deepEqual((await decodeImage(tagged, "tagged")).pixels, new Uint8Array(stored));
  deepEqual([...plain.pixels.subarray(0, 3)], [200, 40, 90]);
});

/** A bitmap by hand: 40-byte header, then masks or palette, then rows as given. */
function bitmap(
  width: number,
  height: number,
  bitsPerPixel: number,
  rows: number[],
  options: { compression?: number; masks?: number[]; palette?: number[]; used?: number } = {},
): Uint8Array {
  const { compression = 0, masks = [], palette = [], used = 0 } = options;
  const dataOffset = 54 + masks.length * 4 + palette.length;
  const bytes = new Uint8Array(dataOffset + rows.length);
  const view = new DataView(bytes.buffer);
  bytes.set([0x42, 0x4d]);
  view.setUint32(10, dataOffset, true);
  view.setUint32(14, 40, true);
  view.setInt32(18, width, true);
  view.setInt32(22, height, true);
  view.setUint16(26, 1, true);
  view.setUint16(28, bitsPerPixel, true);
  view.setUint32(30, compression, true);
  view.setUint32(46, used, true);
  masks.forEach((mask, at) => view.setUint32(54 + at * 4, mask, true));
  bytes.set(palette, 54 + masks.length * 4);
  bytes.set(rows, dataOffset);
  return bytes;
}

const limit = { pixelLimit: 1000 };
const pixelsOf = (bytes: Uint8Array) => [...decodeBmp(bytes, "x.bmp", limit).pixels];
const redAndBlue = [0, 0, 255, 0, 255, 0, 0, 0];

Deno.test("decodeBmp() reads every uncompressed depth", () => {
  const red = [255, 0, 0];
  const blue = [0, 0, 255];
  // Bits 1, 0, 1: blue, red, blue.
  deepEqual(pixelsOf(bitmap(3, 1, 1, [0b10100000, 0, 0, 0], { palette: redAndBlue, used: 2 })), [
    ...blue,
    ...red,
    ...blue,
  ]);
  deepEqual(pixelsOf(bitmap(3, 1, 4, [0x10, 0x10, 0, 0], { palette: redAndBlue, used: 2 })), [
    ...blue,
    ...red,
    ...blue,
  ]);
  deepEqual(pixelsOf(bitmap(2, 1, 8, [1, 0, 0, 0], { palette: redAndBlue, used: 2 })), [...blue, ...red]);
  // 5 bits a channel: 0x7c00 is red, 0x001f blue.
  deepEqual(pixelsOf(bitmap(2, 1, 16, [0x00, 0x7c, 0x1f, 0x00])), [...red, ...blue]);
  deepEqual(
    pixelsOf(bitmap(2, 1, 16, [0x00, 0xf8, 0x10, 0x00], { compression: 3, masks: [0xf800, 0x07e0, 0x001f] })),
    [...red, 0, 0, Math.round(16 * 255 / 31)],
  );
  deepEqual(
    pixelsOf(bitmap(1, 1, 32, [1, 2, 3, 4], { compression: 3, masks: [0xff, 0xff00, 0xff0000] })),
    [1, 2, 3],
  );
  deepEqual(
    pixelsOf(bitmap(1, 1, 32, [9, 1, 2, 3], { compression: 3, masks: [0xff000000, 0xff0000, 0xff00] })),
    [3, 2, 1],
  );
});

Deno.test("decodeBmp() reads rows from the bottom, or from the top when the height is negative", () => {
  const rows = [1, 1, 1, 0, 2, 2, 2, 0];
  deepEqual(pixelsOf(bitmap(1, 2, 24, rows)), [2, 2, 2, 1, 1, 1]);
  deepEqual(pixelsOf(bitmap(1, -2, 24, rows)), [1, 1, 1, 2, 2, 2]);
});

Deno.test("decodeBmp() refuses what it cannot read", () => {
  const whole = bitmap(1, 2, 24, [1, 1, 1, 0, 2, 2, 2, 0]);
  for (const length of [2, 17, 40, 54, 61]) {
    throws(() => decodeBmp(whole.subarray(0, length), "x.bmp", limit), { fault: "truncated", file: "x.bmp" });
  }
  throws(() => pixelsOf(bitmap(1, 1, 8, [0, 0, 0, 0], { compression: 1, palette: redAndBlue })), {
    fault: "unsupported",
  });
  throws(() => pixelsOf(bitmap(1, 1, 8, [2, 0, 0, 0], { palette: redAndBlue, used: 2 })), { fault: "damaged" });
  throws(() => pixelsOf(bitmap(0, 1, 24, [])), { fault: "damaged" });
  throws(() => pixelsOf(bitmap(100, 100, 24, [])), { fault: "too_large" });
});
