import { deepEqual, equal, match, ok, rejects, throws } from "node:assert/strict";
import { cp, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Sample } from "../../data/dataset.ts";
import { SafetensorsFile } from "../../formats/safetensors.ts";
import * as d from "../../mod.ts";
import { datasetOf } from "../../steps/values/training_data.ts";
import { copyPictures, inNewFolder, runRecorded } from "./small_training.ts";

Deno.test("cacheLatents() encodes a changed picture, size or VAE anew, and reports a damaged entry", () =>
  inNewFolder(async (folder) => {
    const train = await copyPictures(d.toy.character, join(folder, "data"), 2);
    const base = join(folder, "base"), cache = join(folder, "latents");
    await cp(d.toy.base, base, { recursive: true });
    /** Runs up to the latents in one run folder; says what is new in the cache. */
    const encode = async (resolution: number) => {
      const before = await readdir(cache).catch((): string[] => []);
      const recipe = d.pipeline("latents")
        .use(d.loadBases({ network1: base }))
        .use(d.readDreambooth({ network1: { train }, resolution, batchSize: 1 }))
        .use(d.cacheLatents({ folder: cache }));
      const { error, events, ran } = await runRecorded(recipe, { folder: join(folder, "run") });
      if (error) throw error;
      const files = await readdir(cache), warnings = events.filter((event) => event.type === "warning");
      return { files, made: files.filter((file) => !before.includes(file)), warnings, ran };
    };

    equal((await encode(64)).made.length, 2);
    deepEqual((await encode(64)).ran, []);

    const pictures = join(train, "1_sks person"),
      [first, second] = (await readdir(pictures)).filter((f) => /png$/.test(f));
    await cp(join(pictures, second), join(pictures, first));
    const changed = await encode(64);
    // It is now the same picture as the second, whose latents are there; the step still ran to find that out.
    deepEqual(changed.made, []);
    ok(changed.ran.includes("cache latents"));
    const [, other] = (await readdir(join(d.toy.outfit, "10_zkz clothes"))).filter((f) => /png$/.test(f));
    await cp(join(d.toy.outfit, "10_zkz clothes", other), join(pictures, first));
    equal((await encode(64)).made.length, 1);

    const larger = await encode(128);
    equal(larger.made.length, 2);
    await using entry = await SafetensorsFile.open(join(cache, larger.made[0]));
    deepEqual(entry.entry("mean").shape, [16, 16, 4]);

    // Of the weights' last bytes the sign of one f16 number.
    const weights = join(base, "vae", "diffusion_pytorch_model.safetensors"), bytes = await readFile(weights);
    bytes[bytes.length - 1] ^= 0x80;
    await writeFile(weights, bytes);
    const [remade] = (await encode(128)).made;
    equal((await encode(128)).made.length, 0);

    const damaged = join(cache, remade), whole = await readFile(damaged);
    await writeFile(damaged, whole.subarray(0, whole.length - 3));
    const read = join(folder, "run", "steps", "03-cache-latents");
    await Deno.remove(read, { recursive: true });
    const { warnings, made } = await encode(128);
    deepEqual(made, []);
    equal(warnings.length, 1);
    match(d.eventText(warnings[0]), /^cache latents: warning: .*\.safetensors is damaged and made anew: /);
    ok(d.eventText(warnings[0]).includes(remade));
    deepEqual(await readFile(damaged), whole);
  }));

/** Notes what the device holds, as a step between others. */
function noteDeviceBytes(name: string, noted: Record<string, number>) {
  return d.defineStep({
    name,
    version: 1,
    needs: { bases: d.things.bases },
    gives: {},
    run: ({ bases }) => {
      noted[name] = bases.device.statistics.bytes;
      return Promise.resolve({});
    },
  });
}

Deno.test("cacheLatents() encodes in batches what it encodes one by one, and its VAE leaves the device", () =>
  inNewFolder(async (folder) => {
    const train = await copyPictures(d.toy.character, join(folder, "data"), 3);
    const bytes: Record<string, number> = {};
    const latents: Record<string, Float32Array>[] = [];
    for (const batchSize of [1, 2]) {
      const cache = join(folder, `latents ${batchSize}`);
      const recipe = d.pipeline("latents")
        .use(d.loadBases({ network1: "toy" }))
        .use(d.readDreambooth({ network1: { train }, resolution: 64, batchSize: 1 }))
        .use(noteDeviceBytes(`before ${batchSize}`, bytes))
        .use(d.cacheLatents({ folder: cache, batchSize }))
        .use(noteDeviceBytes(`after ${batchSize}`, bytes));
      const { error } = await runRecorded(recipe, { folder: join(folder, `run ${batchSize}`) });
      if (error) throw error;
      equal(bytes[`after ${batchSize}`], bytes[`before ${batchSize}`]);
      const found: Record<string, Float32Array> = {};
      for (const name of await readdir(cache)) {
        await using file = await SafetensorsFile.open(join(cache, name));
        found[name] = await file.float32("mean");
      }
      latents.push(found);
    }
    equal(Object.keys(latents[0]).length, 3);
    deepEqual(Object.keys(latents[1]).sort(), Object.keys(latents[0]).sort());
    for (const [name, alone] of Object.entries(latents[0])) {
      latents[1][name].forEach((value, i) => ok(Math.abs(value - alone[i]) < 1e-5, `${name}[${i}]`));
    }
  }));

Deno.test("describe() says what encoding takes from the device, and that a picture does not fit it whole", () =>
  inNewFolder(async (folder) => {
    const train = await copyPictures(d.toy.character, join(folder, "data"), 1);
    const described = async (options: d.CacheLatentsOptions) => {
      const recipe = d.pipeline("latents")
        .use(d.loadBases({ network1: "toy" }))
        .use(d.readDreambooth({ network1: { train }, resolution: 256, batchSize: 1 }))
        .use(d.cacheLatents(options));
      return (await recipe.describe()).steps.find(({ name }) => name === "cache latents")!;
    };
    const whole = await described({});
    deepEqual(whole.lines, []);
    // The encoder's widest tensors have 16 channels, 4 MiB; three are there at once.
    const tiled = await described({ maxGpuBytes: 2 ** 23 });
    match(
      tiled.lines![0],
      /^pictures of 256×256 do not fit .* in tiles of \d+×\d+, and their latents differ a little$/,
    );
    ok(tiled.figures!.peakGpuBytes < whole.figures!.peakGpuBytes);
    await rejects(described({ maxGpuBytes: 1000 }), /Cannot encode pictures of 256×256 pixels.*the limit is 1000/);
    throws(() => d.cacheLatents({ batchSize: 0 }), {
      name: "RangeError",
      message: "Cannot cache latents: batchSize is 0, must be a whole number above 0",
    });
  }));

Deno.test("Cached latents are read from the disk when they are asked for, and an entry that is gone is named", () =>
  inNewFolder(async (folder) => {
    const train = await copyPictures(d.toy.character, join(folder, "data"), 1), cache = join(folder, "latents");
    const { bases, data, latents } = d.things;
    const readTwice = d.defineStep({
      name: "read twice",
      version: 1,
      needs: { bases, data, latents },
      gives: {},
      run: async (given) => {
        const [image] = datasetOf(given.data.network1).images, sample = { image, isFlipped: false } as Sample;
        using opened = await given.latents.open(given.bases);
        const [name] = await readdir(cache), [read] = await opened.get([sample]);
        await using file = await SafetensorsFile.open(join(cache, name));
        deepEqual(read, { height: 8, width: 8, values: await file.float32("mean") });
        await Deno.remove(join(cache, name));
        await rejects(opened.get([sample]), (error: Error) => {
          return error.message.includes(image.path) && /are gone from .* start again/.test(error.message);
        });
        return {};
      },
    });
    const recipe = d.pipeline("latents")
      .use(d.loadBases({ network1: "toy" }))
      .use(d.readDreambooth({ network1: { train }, resolution: 64, batchSize: 1 }))
      .use(d.cacheLatents({ folder: cache }))
      .use(readTwice);
    const { error } = await runRecorded(recipe, { folder: join(folder, "run") });
    if (error) throw error;
  }));

Deno.test("cacheLatents() warns of pictures that it encodes in tiles, and finds their latents only for the same tiles", () =>
  inNewFolder(async (folder) => {
    const train = await copyPictures(d.toy.character, join(folder, "data"), 1), cache = join(folder, "latents");
    const encode = async (run: string, options: d.CacheLatentsOptions) => {
      const recipe = d.pipeline("latents")
        .use(d.loadBases({ network1: "toy" }))
        .use(d.readDreambooth({ network1: { train }, resolution: 192, batchSize: 1 }))
        .use(d.cacheLatents({ folder: cache, ...options }));
      const { error, events } = await runRecorded(recipe, { folder: join(folder, run) });
      if (error) throw error;
      const warnings = events.flatMap((event) => event.type === "warning" ? [event.message] : []);
      return { count: (await readdir(cache)).length, warnings };
    };
    // The encoder's widest tensors have 16 channels at full size, 2.25 MiB; three are there at once.
    const limit = { maxGpuBytes: 5 * 2 ** 20 };
    const tiled = await encode("tiled", limit);
    equal(tiled.count, 1);
    equal(tiled.warnings.length, 1);
    match(tiled.warnings[0], /^pictures of 192×192 .* in tiles of 128×128, and their latents differ a little$/);
    equal((await encode("again", limit)).count, 1);
    deepEqual(await encode("whole", {}), { count: 2, warnings: [] });
  }));
