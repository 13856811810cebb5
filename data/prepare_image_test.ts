import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { join } from "node:path";
import sharp from "sharp";
import { Dataset } from "./dataset.ts";
import { describeDataset } from "./describe_dataset.ts";
import { readImageBytes } from "./image.ts";
import { middleCut } from "./picture_cut.ts";
import { prepareImage, prepareTensor } from "./prepare_image.ts";
import { readDataset } from "./read_dataset.ts";
import { coverFit } from "./resize.ts";

const size = { width: 64, height: 64 };

/** A PNG whose left half is white and whose right half is black. */
async function halves(width: number, height: number): Promise<Uint8Array> {
  const pixels = Uint8Array.from({ length: width * height * 3 }, (_, at) => (at / 3) % width < width / 2 ? 255 : 0);
  return await sharp(pixels, { raw: { width, height, channels: 3 } }).png().toBuffer();
}

Deno.test("prepareTensor() scales, cuts, mirrors and changes colours", async () => {
  const bytes = await halves(200, 100), cut = middleCut({ width: 128, height: 64 }, size);
  const row = (tensor: Float32Array, y: number) => [0, 20, 43, 63].map((x) => tensor[(y * 64 + x) * 3]);
  const tensor = await prepareTensor(bytes, "a.png", { cut });
  equal(tensor.length, 64 * 64 * 3);
  deepEqual(row(tensor, 0), [1, 1, -1, -1]);
  deepEqual(row(tensor, 63), [1, 1, -1, -1]);
  deepEqual(row(await prepareTensor(bytes, "a.png", { cut, isFlipped: true }), 5), [-1, -1, 1, 1]);
  deepEqual(row(await prepareTensor(bytes, "a.png", { cut: { ...cut, left: 0 } }), 5), [1, 1, 1, 1]);
  // (128 / 255)² · 255 is 64.25.
  const grey = await sharp({ create: { ...size, channels: 3, background: "#808080" } }).png().toBuffer();
  const dark = await prepareImage(grey, "b.png", { cut: middleCut(size, size), colour: { gamma: 2 } });
  deepEqual([...new Set(dark.pixels)], [64]);
});

Deno.test("prepareImage() refuses a picture that is too narrow to scale", async () => {
  const bytes = await sharp({ create: { width: 1, height: 16000, channels: 3, background: "red" } }).png().toBuffer();
  const size = { width: 512, height: 512 }, cut = middleCut(coverFit({ width: 1, height: 16000 }, size), size);
  await rejects(
    prepareImage(bytes, "narrow.png", { cut }),
    /Cannot read image narrow.png: with 1 x 16000 pixels it is too narrow: to cover 512 x 512 .* 512 x 8192000; cut it/,
  );
});

Deno.test("the demo's data make batches of the size they were drawn in", async () => {
  const demo = join(import.meta.dirname!, "../assets/toy/demo");
  const { source, warnings } = await readDataset({
    trainDataDir: join(demo, "outfit"),
    regDataDir: join(demo, "regularization"),
    resolution: 128,
    batchSize: 8,
  }, { name: "network 2" });
  deepEqual(warnings, []);
  const dataset = new Dataset([source], { name: "network 2", seed: 1 }), figures = describeDataset(dataset);
  deepEqual([figures.trainImages, figures.trainSamples, figures.regularizationImages], [12, 120, 48]);
  deepEqual([figures.regularizationSamples, figures.batchesPerEpoch], [120, 30]);
  const { samples, width, height } = dataset.epoch(0)[0];
  deepEqual([width, height, samples.length], [128, 128, 8]);
  ok(samples.every(({ caption }) => caption.startsWith("pixel art portrait of ")), samples[0].caption);
  const { path } = samples[0].image, tensor = await prepareTensor(await readImageBytes(path), path, samples[0]);
  // An avatar of 16 x 16 cells is drawn at 128 x 128: each cell of 8 x 8 pixels has one colour.
  const pixel = (x: number, y: number) => [...tensor.subarray((y * 128 + x) * 3, (y * 128 + x) * 3 + 3)];
  for (let cell = 0; cell < 256; cell++) {
    const [x, y] = [(cell % 16) * 8, Math.floor(cell / 16) * 8];
    deepEqual(pixel(x, y), pixel(x + 7, y + 7));
  }
});
