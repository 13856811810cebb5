import { deepEqual, equal, ok, throws } from "node:assert/strict";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { readImageBytes } from "../../data/image.ts";
import { prepareTensor } from "../../data/prepare_image.ts";
import { Device, guaranteedBindingBytes } from "../../engine/mod.ts";
import { openCheckpoint } from "../../models/checkpoint/checkpoint.ts";
import { Source } from "../../models/source.ts";
import { AutoencoderKL } from "../../models/vae/autoencoder_kl.ts";
import { readVaeConfig } from "../../models/vae/config.ts";
import { planEncoding } from "../../models/vae/encoding.ts";
import { blendTiles, type PictureSize, tilesOf } from "../../models/vae/tiles.ts";
import { VaeModel } from "../../models/vae_model.ts";
import { Weights } from "../../models/weights.ts";
import { toy } from "../../steps/values/toy.ts";
import { goldenConfig } from "./golden.ts";

async function smallModel(): Promise<AutoencoderKL> {
  return new AutoencoderKL(new Source(new Weights("vae")), readVaeConfig(await goldenConfig("vae_tiny")));
}

/** Some of the toy's pictures, scaled to a square. */
async function pictures(count: number, edge: number): Promise<Float32Array[]> {
  const folder = join(toy.character, (await readdir(toy.character))[0]), size = { width: edge, height: edge };
  const names = (await readdir(folder)).filter((name) => name.endsWith(".png")).sort().slice(0, count);
  return await Promise.all(names.map(async (name) => {
    const path = join(folder, name), cut = { scaled: size, left: 0, top: 0, size };
    return await prepareTensor(await readImageBytes(path), path, { cut, isFlipped: false });
  }));
}

function largestDifference(a: Float32Array, b: Float32Array): number {
  equal(a.length, b.length);
  return a.reduce((most, value, i) => Math.max(most, Math.abs(value - b[i])), 0);
}

Deno.test("planEncoding() takes fewer pictures at once, then tiles, until the program fits", async () => {
  const model = await smallModel(), size = { width: 256, height: 192 };
  const peak = (size: PictureSize, batch: number) => planEncoding(model, size, { batch }).program.peakBytes;
  const found = (maxBytes: number) => {
    const { batch, tile, program } = planEncoding(model, size, { batch: 8, maxBytes });
    ok(program.peakBytes <= maxBytes);
    return { batch, tile };
  };
  deepEqual(found(peak(size, 8)), { batch: 8, tile: null });
  deepEqual(found(peak(size, 8) - 1), { batch: 4, tile: null });
  deepEqual(found(peak(size, 1)), { batch: 1, tile: null });
  deepEqual(found(peak(size, 1) - 1), { batch: 1, tile: { width: 192, height: 192 } });
  deepEqual(found(peak({ width: 128, height: 128 }, 1)), { batch: 1, tile: { width: 128, height: 128 } });
  throws(() => found(peak({ width: 128, height: 128 }, 1) - 1), {
    name: "RangeError",
    message:
      /^Cannot encode pictures of 256×192 pixels, not even in tiles of 128: that takes \d+ bytes, the limit is \d+$/,
  });
});

Deno.test("planEncoding() takes tiles where the adapter cannot hold the whole picture", async () => {
  const model = await smallModel(), size = { width: 1024, height: 1024 };
  // The widest tensor has 8 channels at full size: 32 MiB.
  const limits = { name: "small", maxBindingBytes: guaranteedBindingBytes, maxBufferBytes: 2 ** 24 };
  const { tile, program } = planEncoding(model, size, { limits });
  ok(tile !== null && tile.width < 1024, JSON.stringify(tile));
  ok(Math.max(...program.slots) <= 2 ** 24);
  equal(planEncoding(model, size, { limits: { ...limits, maxBufferBytes: 2 ** 28 } }).tile, null);
});

Deno.test("planEncoding() takes tiles of whole latents, also where a side is no multiple of 8", async () => {
  const model = await smallModel(), peak = planEncoding(model, { width: 128, height: 104 }).program.peakBytes;
  const { tile, program } = planEncoding(model, { width: 300, height: 110 }, { maxBytes: peak });
  deepEqual(tile, { width: 128, height: 104 });
  deepEqual(program.outputs.get("mean")!.type.shape, [1, 13, 16, 4]);
});

Deno.test("VaeModel encodes several pictures at once as it encodes each alone, and leaves nothing on the device", async () => {
  using device = await Device.open();
  const { bytes, buffers } = device.statistics;
  const vae = await VaeModel.load(await openCheckpoint(toy.base), device);
  const size = { width: 64, height: 64 }, all = await pictures(5, 64);
  const together = await vae.encode(all, size, vae.planEncoding(size, { batch: 2 }));
  equal(together.length, 5);
  for (const [i, picture] of all.entries()) {
    const [alone] = await vae.encode([picture], size);
    // The sums have the same order, whatever the batch; another adapter may choose other kernels for it.
    ok(largestDifference(together[i].mean, alone.mean) < 1e-5);
    ok(largestDifference(together[i].logvar, alone.logvar) < 1e-4);
  }
  vae.free();
  deepEqual({ bytes: device.statistics.bytes, buffers: device.statistics.buffers }, { bytes, buffers });
});

Deno.test("VaeModel encodes a picture in tiles as it encodes each tile alone, near to the whole picture's latents", async () => {
  using device = await Device.open();
  const vae = await VaeModel.load(await openCheckpoint(toy.base), device);
  const size = { width: 192, height: 192 }, [picture] = await pictures(1, 192);
  const whole = vae.planEncoding(size);
  const tiled = vae.planEncoding(size, { maxBytes: whole.program.peakBytes - 1 });
  deepEqual(tiled.tile, { width: 128, height: 128 });
  const [{ mean, logvar }] = await vae.encode([picture], size, tiled);
  equal(logvar.length, 24 * 24 * 4);

  // 16 cells each of 24 along both axes: tiles at 0 and 8.
  const cells = { height: 24, width: 24 },
    tiles = tilesOf(cells, { height: 16, width: 16 }),
    parts: Float32Array[] = [];
  deepEqual(tiles.map(({ top, left }) => [top, left]), [[0, 0], [0, 8], [8, 0], [8, 8]]);
  for (const { top, left } of tiles) {
    const rows = Array.from({ length: 128 }, (_, row) => {
      const start = ((8 * top + row) * 192 + 8 * left) * 3;
      return [...picture.subarray(start, start + 128 * 3)];
    });
    parts.push((await vae.encode([Float32Array.from(rows.flat())], { width: 128, height: 128 }))[0].mean);
  }
  ok(largestDifference(mean, blendTiles(tiles, parts, cells)) < 1e-5);

  const [{ mean: expected }] = await vae.encode([picture], size, whole);
  const rms = (values: Float32Array) =>
    Math.sqrt(values.reduce((sum, value) => sum + value * value, 0) / values.length);
  const error = rms(mean.map((value, i) => value - expected[i])) / rms(expected);
  // Group norms see a tile alone; a picture put together wrongly would differ by about 1.
  ok(error > 0 && error < 0.2, `relative error ${error}`);
  console.log(`latents in tiles differ from the whole picture's by ${error.toFixed(3)}`);
  vae.free();
});
