import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { join } from "node:path";
import sharp from "sharp";
import { Dataset } from "./dataset.ts";
import { readDreamboothFolders } from "./dreambooth_folder.ts";
import { readImageBytes } from "./image.ts";
import { prepareImage } from "./prepare_image.ts";

const size = { width: 64, height: 64 };

/** A PNG whose left half is white and whose right half is black. */
async function halves(width: number, height: number): Promise<Uint8Array> {
  const pixels = Uint8Array.from({ length: width * height * 3 }, (_, at) => (at / 3) % width < width / 2 ? 255 : 0);
  return await sharp(pixels, { raw: { width, height, channels: 3 } }).png().toBuffer();
}

Deno.test("prepareImage() scales, cuts and mirrors", async () => {
  const bytes = await halves(200, 100);
  const row = (tensor: Float32Array, y: number) => [0, 20, 43, 63].map((x) => tensor[(y * 64 + x) * 3]);
  const tensor = await prepareImage(bytes, "a.png", size);
  equal(tensor.length, 64 * 64 * 3);
  deepEqual(row(tensor, 0), [1, 1, -1, -1]);
  deepEqual(row(tensor, 63), [1, 1, -1, -1]);
  deepEqual(row(await prepareImage(bytes, "a.png", size, { isFlipped: true }), 5), [-1, -1, 1, 1]);
});

Deno.test("prepareImage() refuses a picture that is too narrow to scale", async () => {
  const bytes = await sharp({ create: { width: 1, height: 16000, channels: 3, background: "red" } }).png().toBuffer();
  await rejects(
    prepareImage(bytes, "narrow.png", { width: 512, height: 512 }),
    /Cannot read image narrow.png: with 1 x 16000 pixels it is too narrow: to cover 512 x 512 .* 512 x 8192000; cut it/,
  );
});

Deno.test("the demo's data make batches of the size they were drawn in", async () => {
  const demo = join(import.meta.dirname!, "../assets/toy/demo");
  const outfit = await readDreamboothFolders(join(demo, "outfit"), "training");
  const people = await readDreamboothFolders(join(demo, "regularization"), "regularization");
  deepEqual([outfit.warnings, people.warnings], [[], []]);
  const dataset = new Dataset(outfit.folders, people.folders, {
    name: "network 2",
    width: 128,
    height: 128,
    batchSize: 8,
    seed: 1,
  });
  const figures = dataset.describe();
  deepEqual([figures.trainImages, figures.trainSamples, figures.regularizationImages], [12, 120, 48]);
  deepEqual([figures.regularizationSamples, figures.batchesPerEpoch], [120, 30]);
  const batch = dataset.epoch(0)[0];
  ok(batch.every(({ caption }) => caption.startsWith("pixel art portrait of ")), batch[0].caption);
  const bytes = await readImageBytes(batch[0].image.path);
  const tensor = await prepareImage(bytes, batch[0].image.path, dataset);
  // An avatar of 16 x 16 cells is drawn at 128 x 128: each cell of 8 x 8 pixels has one colour.
  const pixel = (x: number, y: number) => [...tensor.subarray((y * 128 + x) * 3, (y * 128 + x) * 3 + 3)];
  for (let cell = 0; cell < 256; cell++) {
    const [x, y] = [(cell % 16) * 8, Math.floor(cell / 16) * 8];
    deepEqual(pixel(x, y), pixel(x + 7, y + 7));
  }
});
