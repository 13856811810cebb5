import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
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
    { ...source, tile: { width: 64, height: 128 } },
    { ...source, tile: { width: 128, height: 64 } },
  ];
  equal(latentKey({ ...source, tile: null }), latentKey(source));
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
    deepEqual(events.map((event) => event.kind === "found" ? event.place : event.kind), ["disk", "disk", "missing"]);
    deepEqual([...Deno.readDirSync(folder)].map(({ name }) => name), [`${key}.safetensors`]);
    await using file = await SafetensorsFile.open(join(folder, `${key}.safetensors`));
    deepEqual(file.entry("mean").shape, [4, 1, 3]);
    deepEqual(await file.float32("mean"), latents().mean.values);
  });
});

Deno.test("LatentCache reports a damaged file, which counts as missing until it is replaced", async () => {
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
      equal(await cache.get(damagedKey), undefined);
      await cache.put(damagedKey, latents(9));
      deepEqual(events.map(({ kind }) => kind), ["damaged", "missing", "stored"]);
      ok(events[0].kind === "damaged" && events[0].path === damagedPath && reason.test(events[0].reason));
      deepEqual(await new LatentCache({ folder }).get(damagedKey), latents(9));
    }
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

Deno.test("Processes that write the same entries at the same time leave none damaged, and no other files", async () => {
  await withFolder(async (folder) => {
    const module = new URL("./latent_cache.ts", import.meta.url).href;
    const keys = Array.from({ length: 12 }, (_, i) => latentKey({ ...source, vaeHash: `${i}` }));
    // Each process writes values of its own, so that a mixture of two would have a wrong hash.
    const writer = (number: number) => `
      const { LatentCache } = await import(${JSON.stringify(module)});
      const cache = new LatentCache({ folder: ${JSON.stringify(folder)} });
      const values = new Float32Array(20_000).fill(${number}), entry = { shape: [20_000], values };
      for (let round = 0; round < 8; round++) {
        for (const key of ${JSON.stringify(keys)}) await cache.put(key, { mean: entry });
      }`;
    const args = (
      number: number,
    ) => ["eval", `--config=${fileURLToPath(new URL("../deno.json", import.meta.url))}`, writer(number)];
    const writers = [1, 2, 3].map((number) =>
      new Deno.Command(Deno.execPath(), { args: args(number), stderr: "inherit" }).spawn()
    );
    let isDone = false, found = 0;
    const codes = Promise.all(writers.map(async (writer) => (await writer.status).code)).finally(() => isDone = true);
    const cache = new LatentCache({
      folder,
      onEvent: (event) => {
        if (event.kind === "damaged") throw new Error(event.reason);
        if (event.kind === "found") found++;
      },
    });
    while (!isDone) {
      for (const key of keys) await cache.get(key);
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    deepEqual(await codes, [0, 0, 0]);
    for (const key of keys) ok([1, 2, 3].includes((await cache.get(key))!.mean.values[0]));
    ok(found > keys.length, "nothing was read while the others wrote");
    deepEqual(
      [...Deno.readDirSync(folder)].map(({ name }) => name).sort(),
      keys.map((key) => `${key}.safetensors`).sort(),
    );
  });
});
