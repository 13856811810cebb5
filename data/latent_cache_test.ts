import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { join } from "node:path";
import { SafetensorsFile } from "../formats/safetensors.ts";
import { LatentCache, type LatentCacheEvent, latentKey, type Latents, type LatentSource } from "./latent_cache.ts";

const source: LatentSource = {
  imageBytes: new Uint8Array([1, 2, 3]),
  cut: { scaled: { width: 96, height: 128 }, left: 16, top: 0, size: { width: 64, height: 128 } },
  isFlipped: false,
  vaeHash: "vae",
};

function latents(first = 0.5): Latents {
  const values = Float32Array.from({ length: 12 }, (_, at) => first + at / 3);
  return {
    mean: { shape: [4, 1, 3], values },
    logvar: { shape: [4, 3, 1], values: values.map((value) => -value) },
  };
}

async function withFolder(use: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await use(join(folder, "cache"));
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("latentKey() changes with everything that latents depend on", () => {
  const { cut } = source;
  const sources: LatentSource[] = [
    source,
    { ...source, imageBytes: new Uint8Array([1, 2, 4]) },
    { ...source, cut: { ...cut, scaled: { width: 128, height: 96 } } },
    { ...source, cut: { ...cut, scaled: { width: 97, height: 128 } } },
    { ...source, cut: { ...cut, size: { width: 128, height: 64 } } },
    { ...source, cut: { ...cut, left: 0 } },
    { ...source, cut: { ...cut, top: 1 } },
    { ...source, isFlipped: true },
    { ...source, vaeHash: "other" },
  ];
  equal(new Set(sources.map(latentKey)).size, sources.length);
  equal(latentKey({ ...source, imageBytes: new Uint8Array([1, 2, 3]) }), latentKey(source));
});

Deno.test("LatentCache keeps latents in memory without a folder", async () => {
  const cache = new LatentCache();
  const key = latentKey(source);
  equal(await cache.get(key), undefined);
  await cache.put(key, latents());
  deepEqual(await cache.get(key), latents());
});

Deno.test("LatentCache finds on disk what another one stored, to the bit", async () => {
  await withFolder(async (folder) => {
    const key = latentKey(source);
    await new LatentCache({ folder }).put(key, latents());
    const events: LatentCacheEvent[] = [];
    const cache = new LatentCache({ folder, onEvent: (event) => events.push(event) });
    deepEqual(await cache.get(key), latents());
    deepEqual(await cache.get(key), latents());
    equal(await cache.get(latentKey({ ...source, vaeHash: "other" })), undefined);
    deepEqual(events.map((event) => event.kind === "found" ? event.place : event.kind), ["disk", "memory", "missing"]);
    deepEqual([...Deno.readDirSync(folder)].map(({ name }) => name), [`${key}.safetensors`]);
    await using file = await SafetensorsFile.open(join(folder, `${key}.safetensors`));
    deepEqual(file.entry("mean").shape, [4, 1, 3]);
    deepEqual(await file.float32("mean"), latents().mean.values);
  });
});

Deno.test("LatentCache reports a damaged file and computes its latents again", async () => {
  await withFolder(async (folder) => {
    const key = latentKey(source);
    const other = latentKey({ ...source, isFlipped: true });
    await new LatentCache({ folder }).put(key, latents());
    const path = join(folder, `${key}.safetensors`);
    const whole = await Deno.readFile(path);
    const flipped = whole.slice();
    flipped[flipped.length - 1] ^= 1;
    await Deno.copyFile(path, join(folder, `${other}.safetensors`));
    const damages: [string, Uint8Array, RegExp][] = [
      [key, flipped, /hash/],
      [key, whole.subarray(0, whole.length - 5), /Cannot read/],
      [key, new Uint8Array(), /Cannot read/],
      [other, whole, /written for another key/],
    ];
    for (const [damagedKey, content, reason] of damages) {
      const damagedPath = join(folder, `${damagedKey}.safetensors`);
      await Deno.writeFile(damagedPath, content);
      const events: LatentCacheEvent[] = [];
      const cache = new LatentCache({ folder, onEvent: (event) => events.push(event) });
      deepEqual(await cache.getOrCompute(damagedKey, () => latents(9)), latents(9));
      deepEqual(events.map(({ kind }) => kind), ["damaged", "missing", "stored"]);
      ok(events[0].kind === "damaged" && events[0].path === damagedPath && reason.test(events[0].reason));
      deepEqual(await new LatentCache({ folder }).get(damagedKey), latents(9));
    }
  });
});

Deno.test("getOrCompute() computes once", async () => {
  await withFolder(async (folder) => {
    let computed = 0;
    const compute = () => {
      computed++;
      return Promise.resolve(latents());
    };
    for (const cache of [new LatentCache({ folder }), new LatentCache({ folder })]) {
      deepEqual(await cache.getOrCompute(latentKey(source), compute), latents());
      deepEqual(await cache.getOrCompute(latentKey(source), compute), latents());
    }
    equal(computed, 1);
  });
});

Deno.test("LatentCache refuses latents that are not finite, and keys it did not make", async () => {
  await withFolder(async (folder) => {
    const cache = new LatentCache({ folder });
    const key = latentKey(source);
    const spoiled = { mean: { shape: [2], values: new Float32Array([1, NaN]) } };
    await rejects(cache.put(key, spoiled), /RangeError: Cannot cache latents: mean\[1\] is NaN/);
    equal(await cache.get(key), undefined);
    await rejects(cache.get("../../etc/passwd"), TypeError);
  });
});
