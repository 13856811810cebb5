import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { Device, guaranteedBindingBytes } from "../../engine/mod.ts";
import { openCheckpoint } from "../../models/checkpoint/checkpoint.ts";
import { planDecoding } from "../../models/vae/decoding.ts";
import { blendTiles, tilesOf } from "../../models/vae/tiles.ts";
import { buildVae, VaeModel } from "../../models/vae_model.ts";
import { RandomStream } from "../../random/philox.ts";
import { toy } from "../../steps/values/toy.ts";
import { openStableDiffusion } from "../../tools/memory/stable_diffusion.ts";

Deno.test("planDecoding() takes a 512 pixel picture of SD v1.5 in tiles where 128 MiB are bound, whole where 1 GiB is", async () => {
  const { model } = buildVae((await openStableDiffusion()).checkpoint), size = { height: 64, width: 64 };
  const fitting = (maxBindingBytes: number) =>
    planDecoding(model, size, { batch: 1, limits: { name: "any", maxBindingBytes, maxBufferBytes: 2 ** 31 } });
  const { tile, program } = fitting(guaranteedBindingBytes);
  // The widest tensor has 256 channels in f32 at full size: 151 MB for 384×384 pixels, 105 MB for 320×320.
  deepEqual(tile, { height: 40, width: 40 });
  ok(program.steps.every(({ bindings }) => bindings.every(({ sizeBytes }) => sizeBytes <= guaranteedBindingBytes)));
  equal(fitting(2 ** 30).tile, null);
});

Deno.test("VaeModel decodes latents in tiles as it decodes each tile alone, near to the whole picture", async () => {
  using device = await Device.open();
  const vae = await VaeModel.load(await openCheckpoint(toy.base), device), size = { height: 24, width: 24 };
  const random = new RandomStream({ seed: 1, stream: 1, step: 0 });
  // Quiet, so that colours stay within a byte's range: they are clipped after the blending in tiles, before it where each is decoded alone.
  const latents = Float32Array.from({ length: 24 * 24 * 4 }, () => 0.4 * random.nextFloat() - 0.2);
  const [whole] = await vae.decode([latents], size);

  // Tiles of 16 cells where the widest tensor of the whole picture does not fit: 16 channels at 192×192 pixels.
  Object.assign(device.facts, { maxBindingBytes: 4 * 16 * 144 ** 2 });
  const [tiled] = await vae.decode([latents], size), tiles = tilesOf(size, { height: 16, width: 16 });
  deepEqual(tiles.map(({ top, left }) => [top, left]), [[0, 0], [0, 8], [8, 0], [8, 8]]);
  const alone: Float32Array[] = [];
  for (const { top, left } of tiles) {
    const cells = Float32Array.from({ length: 16 * 16 * 4 }, (_, i) => {
      const cell = Math.floor(i / 4);
      return latents[((top + Math.floor(cell / 16)) * 24 + left + cell % 16) * 4 + i % 4];
    });
    alone.push(Float32Array.from((await vae.decode([cells], { height: 16, width: 16 }))[0]));
  }
  const inPixels = tiles.map(({ top, left }) => ({ top: 8 * top, left: 8 * left, height: 128, width: 128 }));
  const blended = blendTiles(inPixels, alone, { height: 192, width: 192 });
  // Rounded after the blending, and before it.
  ok(tiled.every((value, i) => Math.abs(value - blended[i]) <= 1));
  const error = Math.sqrt(tiled.reduce((sum, value, i) => sum + (value - whole[i]) ** 2, 0) / whole.length);
  console.log(`a picture decoded in tiles differs from the whole one's by ${error.toFixed(1)} of 255`);
  ok(error > 0 && error < 25);
  vae.free();
});

Deno.test("VaeModel is not multiplied in f16, for which real VAEs' activations are too large", async () => {
  using device = await Device.open();
  const vae = await VaeModel.load(await openCheckpoint(toy.base), device, "f16");
  const compile: Device["compile"] = (_, options) => Promise.reject(new Error(JSON.stringify(options?.f16Arithmetic)));
  Object.assign(device, { compile });
  await rejects(vae.decode([new Float32Array(8 * 8 * 4)], { height: 8, width: 8 }), { message: "false" });
});
