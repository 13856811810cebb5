import { deepEqual, equal, ok, throws } from "node:assert/strict";
import { join } from "node:path";
import { SafetensorsFile } from "../formats/safetensors.ts";
import { readImage, type RgbImage } from "./image.ts";
import { checkImageSize, coverFit, cropImage, flipImage, imageTensor, latentCells, resizeArea } from "./resize.ts";

const goldens = join(import.meta.dirname!, "../tests/golden/files");

interface ResizeCase {
  readonly file: string;
  readonly resized: [number, number];
  readonly bucket: [number, number];
}

const resizeCases: Record<string, ResizeCase> = JSON.parse(
  await Deno.readTextFile(join(goldens, "images/expected.json")),
).resize.cases;

/** A picture whose pixel at x, y is [x, y, 0]. */
function places(width: number, height: number): RgbImage {
  const pixels = Array.from({ length: width * height }, (_, at) => [at % width, Math.floor(at / width), 0]).flat();
  return { width, height, pixels: new Uint8Array(pixels) };
}

Deno.test("resizeArea() gives what OpenCV's INTER_AREA gives", async () => {
  await using file = await SafetensorsFile.open(join(goldens, "images/resize.safetensors"));
  for (const [name, { file: picture, resized, bucket }] of Object.entries(resizeCases)) {
    const image = await readImage(join(goldens, "images", picture));
    const scaled = resizeArea(image, { width: resized[0], height: resized[1] });
    const [left, top] = [0, 1].map((axis) => Math.floor((resized[axis] - bucket[axis]) / 2));
    const cut = cropImage(scaled, { left, top, width: bucket[0], height: bucket[1] });
    const expected = await file.bytes(`${name}.u8`);
    equal(cut.pixels.length, expected.length);
    const differences = [...cut.pixels].map((value, at) => Math.abs(value - expected[at]));
    // The golden's own statement of its tolerance: at most 1.01 of 255, in the mean at most 0.5.
    ok(Math.max(...differences) <= 1.01, `${name}: off by ${Math.max(...differences)}`);
    const meanDifference = differences.reduce((sum, value) => sum + value, 0) / differences.length;
    ok(meanDifference <= 0.5, `${name}: off by ${meanDifference} in the mean`);
  }
});

Deno.test("imageTensor() scales bytes as PyTorch's ToTensor and Normalize do, to the bit", async () => {
  await using file = await SafetensorsFile.open(join(goldens, "images/resize.safetensors"));
  for (const [name, { bucket: [width, height] }] of Object.entries(resizeCases)) {
    const tensor = imageTensor({ width, height, pixels: await file.bytes(`${name}.u8`) });
    const expected = await file.float32(name);
    const plane = width * height;
    const channelsFirst = expected.map((_, at) => tensor[(at % plane) * 3 + Math.floor(at / plane)]);
    deepEqual(channelsFirst, expected);
  }
});

Deno.test("coverFit() scales and cuts as sd-scripts does without buckets", async () => {
  const { without_buckets } = JSON.parse(await Deno.readTextFile(join(goldens, "buckets.json")));
  const [width, height] = without_buckets.resolution;
  equal(without_buckets.images.length > 50, true);
  for (const [w, h, , , resizedWidth, resizedHeight, left, top] of without_buckets.images) {
    const fit = coverFit({ width: w, height: h }, { width, height });
    deepEqual(fit, { width: resizedWidth, height: resizedHeight, left, top }, `${w} x ${h}`);
  }
});

Deno.test("cropImage() refuses to reach beyond the picture", () => {
  throws(() => cropImage(places(4, 4), { left: 2, top: 0, width: 3, height: 4 }), /RangeError: .*3 x 4 at 2, 0/);
});

Deno.test("flipImage() mirrors left to right", () => {
  const image = places(3, 2);
  deepEqual([...flipImage(image).pixels], [2, 0, 0, 1, 0, 0, 0, 0, 0, 2, 1, 0, 1, 1, 0, 0, 1, 0]);
  deepEqual(flipImage(flipImage(image)), image);
});

Deno.test("checkImageSize() takes what has a latent, as latentCells() counts them", () => {
  checkImageSize({ width: 128, height: 501 }, "network 1");
  throws(
    () => checkImageSize({ width: 501, height: 7 }, "network 2"),
    new RangeError(
      "Cannot use the image size 501 x 7 of network 2: both sides must be whole numbers of pixels, 8 at least",
    ),
  );
  throws(() => checkImageSize({ width: NaN, height: 64 }, "network 1"), RangeError);
  throws(() => checkImageSize({ width: 64.5, height: 64 }, "network 1"), RangeError);
  // 500 is halved to 250, 125 and, without the last row, 62.
  deepEqual([8, 15, 16, 500, 512].map(latentCells), [1, 1, 2, 62, 64]);
});
