import { deepEqual, equal, match, notDeepEqual, ok, rejects, throws } from "node:assert/strict";
import { cp, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import sharp from "sharp";
import type { Sample } from "../../data/dataset.ts";
import * as d from "../../mod.ts";
import { datasetOf } from "../../steps/values/training_data.ts";
import { inNewFolder, keptNetwork, runRecorded } from "./small_training.ts";

const toyPictures = join(d.toy.character, "10_sks person");

/** Writes the toy's pictures in other sizes into a folder, with a caption of three tags each. */
async function drawPictures(folder: string, sizes: readonly [number, number][]): Promise<string> {
  await mkdir(folder, { recursive: true });
  for (const [at, [width, height]] of sizes.entries()) {
    const picture = sharp(join(toyPictures, `${String(at).padStart(3, "0")}.png`)).resize(width, height, {
      fit: "fill",
    });
    await writeFile(join(folder, `${at}.png`), await picture.png().toBuffer());
    await writeFile(join(folder, `${at}.txt`), "pixel art portrait, sks person, red clothes");
  }
  return folder;
}

const buckets = {
  ...{ resolution: 128, enableBucket: true, minBucketReso: 64, maxBucketReso: 256 },
} satisfies d.DatasetOptions;

Deno.test("networks train on buckets of different shapes in one step, in steps of 10 pixels too; a stopped run goes on to the same bits", () =>
  inNewFolder(async (folder) => {
    const one = await drawPictures(join(folder, "one"), [[128, 128], [300, 100]]);
    const two = await drawPictures(join(folder, "two"), [[128, 128], [128, 128], [80, 240]]);
    const changing = {
      shuffleCaption: true,
      captionTagDropoutRate: 0.3,
      flipAug: true,
      colorAug: true,
      randomCrop: true,
    };
    // Buckets in steps of 10 pixels, as sd-scripts' make_bucket_resolutions(64, 30, 120, 10) has them: 60 pixels make 7 latents, 100 make 12, 30 make 3.
    const small = { resolution: 64, enableBucket: true, minBucketReso: 30, maxBucketReso: 120, bucketResoSteps: 10 };
    const recipe = d.pipeline("buckets")
      .use(d.loadBases({ network1: "toy" }))
      .use(d.readDatasets({
        network1: [{ ...small, subsets: [{ imageDir: one, ...changing }] }],
        network2: [{ ...buckets, batchSize: 2, subsets: [{ imageDir: two, classTokens: "x" }] }],
      }))
      .use(d.encodeLatents())
      .use(d.trainBoth({ rank: 2, steps: 4, learningRate: 1e-3, checkpointEvery: 3 }));
    const sizes = (await recipe.describe()).steps.at(-1)!.lines.find((line) => line.startsWith("sizes"));
    match(
      sizes!,
      /^sizes +2 sizes: 60×60 \(1 shown\), 100×30 \(1 shown\) +2 sizes: 128×128 \(2 shown\), 64×192 \(1 shown\)$/,
    );
    const whole = join(folder, "whole"), stopped = join(folder, "stopped");
    equal((await runRecorded(recipe, { folder: whole })).error, null);
    const stop = new AbortController();
    const onEvent = (event: d.RunEvent) => {
      if (event.type === "progress" && event.step === "train both networks" && event.done === 3) stop.abort();
    };
    ok(
      (await runRecorded(recipe, { folder: stopped, signal: stop.signal, onEvent })).error instanceof
        d.InterruptedError,
    );
    equal((await runRecorded(recipe, { folder: stopped })).error, null);
    for (const name of ["network1", "network2"]) {
      const [a, b] = [
        await keptNetwork(whole, "train-both-networks", name),
        await keptNetwork(stopped, "train-both-networks", name),
      ];
      ok(a.weights.every(Number.isFinite));
      deepEqual(b.weights, a.weights);
      deepEqual(b.log, a.log);
      // Network 1's two batches and network 2's two make epochs of two steps.
      deepEqual(a.log.map(({ epoch }) => epoch), [0, 0, 1, 1]);
    }
  }));

Deno.test("weightedCaptions changes a step where a caption has weights, and nowhere else", () =>
  inNewFolder(async (folder) => {
    const imageDir = await drawPictures(join(folder, "one"), [[64, 64]]);
    const loss = async (caption: string, options: Partial<d.TrainingOptions>) => {
      await writeFile(join(imageDir, "0.txt"), caption);
      const recipe = d.pipeline("weights").use(d.loadBases({ network1: "toy" }))
        .use(d.readDatasets({ network1: [{ resolution: 64, subsets: [{ imageDir }] }] })).use(d.cacheLatents())
        .use(d.pretrainNetwork1({ rank: 2, steps: 1, ...options }));
      const { values } = await recipe.run({
        folder: join(folder, `run ${caption}${JSON.stringify(options)}`),
        keep: ["network1"],
      });
      return values.network1.log[0].values.loss_1;
    };
    const plain = await loss("red clothes", {}), weighted = await loss("red clothes", { weightedCaptions: true });
    // The same states but for the rounding of one factor, which is 1.
    ok(Math.abs(weighted - plain) < 1e-5 * plain, `${weighted} ${plain}`);
    const strong = await loss("(red:2.5) clothes", { weightedCaptions: true, maxTokenLength: 150 });
    ok(Math.abs(strong - plain) > 1e-4 * plain, `${strong} ${plain}`);
  }));

Deno.test("readDatasets() runs again when a picture, a setting or metadata change, and not when folders move", () =>
  inNewFolder(async (folder) => {
    const run = join(folder, "run"), metadata = join(folder, "meta.json");
    const ran = async (imageDir: string, changed: d.SubsetOptions = {}) => {
      const data = { network1: [{ resolution: 64, subsets: [{ imageDir, classTokens: "a", ...changed }] }] };
      const { error, ran } = await runRecorded(d.pipeline("data").use(d.readDatasets(data)), { folder: run });
      equal(error, null);
      return ran.length > 0;
    };
    const pictures = await drawPictures(join(folder, "one"), [[64, 64]]);
    equal(await ran(pictures), true);
    equal(await ran(pictures), false);
    equal(await ran(await drawPictures(join(folder, "other"), [[64, 64]])), false);
    equal(await ran(pictures, { numRepeats: 2 }), true);
    await drawPictures(pictures, [[65, 64]]);
    equal(await ran(pictures, { numRepeats: 2 }), true);
    await writeFile(metadata, '{"0": {"tags": "red"}}');
    const data = (resolution: number) => ({
      network1: [{ resolution, subsets: [{ metadataFile: metadata, imageDir: pictures }] }],
    });
    const recipe = (resolution = 64) => d.pipeline("metadata").use(d.readDatasets(data(resolution)));
    const ranAgain = async () => (await runRecorded(recipe(), { folder: join(folder, "second") })).ran.length > 0;
    deepEqual([await ranAgain(), await ranAgain()], [true, false]);
    await writeFile(metadata, '{"0": {"tags": "blue"}}');
    equal(await ranAgain(), true);
    await drawPictures(pictures, [[64, 66]]);
    equal(await ranAgain(), true);
    const [step] = (await recipe(128).describe()).steps;
    match(step.lines[0], /^network 1: 1 pictures shown 1 times, 0 regularization .*, 128×128 pixels, batch 1$/);
  }));

Deno.test("metadata with latents alone train, both ways round, on what the files hold; what they lack is told before the first step", () =>
  inNewFolder(async (folder) => {
    const imageDir = join(folder, "set"), metadataFile = join(folder, "meta.json");
    await mkdir(imageDir);
    for (const name of ["old.npz", "old_flip.npz", "new.npz", "alone.npz"]) {
      await cp(join(import.meta.dirname!, "../golden/files/npz", name), join(imageDir, name));
    }
    const { bases, data, latents } = d.things, read: number[][] = [];
    const look = d.defineStep({
      name: "look",
      version: 1,
      needs: { bases, data, latents },
      gives: {},
      run: async (given) => {
        using opened = await given.latents.open(given.bases);
        for (const image of datasetOf(given.data.network1).images) {
          for (const isFlipped of [false, true]) {
            const [{ height, width, values }] = await opened.get([{ image, isFlipped } as Sample]);
            read.push([height, width, values[0], values[5], values[4 * 6 * 4 + 3]]);
          }
        }
        return {};
      },
    });
    const recipe = async (names: readonly string[], subset: d.SubsetOptions, size: readonly number[] = [48, 64]) => {
      const entry = { tags: "red", train_resolution: size };
      await writeFile(metadataFile, JSON.stringify(Object.fromEntries(names.map((name) => [name, entry]))));
      return d.pipeline("latents").use(d.loadBases({ network1: "toy" }))
        .use(d.readDatasets({ network1: [{ subsets: [{ imageDir, metadataFile, ...subset }] }] }));
    };
    const options = { folder: join(folder, "run") };

    const whole = (await recipe(["old", "new"], { flipAug: true })).use(d.cacheLatents()).use(look)
      .use(d.pretrainNetwork1({ rank: 2, steps: 1 }));
    const { lines } = (await whole.describe()).steps.find(({ name }) => name === "cache latents")!;
    deepEqual(lines, ["latents of 4 are read from files (.npz), made by whatever VAE made them"]);
    const { error, events } = await runRecorded(whole, options);
    equal(error, null);
    ok(events.some((event) => event.type === "step-finished" && event.step === "pretrain network 1"));
    // By the rule of gen_npz.py: channel + row / 10 + column / 100, and 1000 more where it is mirrored.
    const values = (added: number) => [8, 6, added, 1.01 + added, 3.4 + added].map(Math.fround);
    deepEqual(read, [values(0), values(1000), values(0), values(1000)]);

    const failing = async (names: string[], subset: d.SubsetOptions, size?: number[]) =>
      (await runRecorded((await recipe(names, subset, size)).use(d.cacheLatents()), options)).error?.message;
    match(`${await failing(["alone"], { flipAug: true })}`, /alone.npz: there are none of the mirrored picture/);
    equal(
      await failing(["alone"], {}, [64, 64]),
      `Cannot train: the latents ${join(imageDir, "alone.npz")} are 6×8 cells, expected 8×8 for a picture of 64×64: ` +
        "make them again, or put the picture beside them",
    );
    const changing = (await recipe(["alone"], { randomCrop: true })).use(d.encodeLatents());
    match(
      `${(await runRecorded(changing, options)).error?.message}`,
      /alone.npz has latents and no picture, and changes at every step/,
    );
  }));

Deno.test("cacheLatents() refuses what shows other pixels at every step, and says what is ignored", () =>
  inNewFolder(async (folder) => {
    const imageDir = await drawPictures(join(folder, "one"), [[64, 64]]);
    const run = (subset: d.SubsetOptions) =>
      runRecorded(
        d.pipeline("cache").use(d.loadBases({ network1: "toy" }))
          .use(d.readDatasets({ network1: [{ resolution: 64, subsets: [{ imageDir, ...subset }] }] }))
          .use(d.cacheLatents()),
        { folder: join(folder, "run") },
      );
    for (const [option, subset] of [["colorAug", { colorAug: true }], ["randomCrop", { randomCrop: true }]] as const) {
      equal(
        (await run(subset)).error?.message,
        `Cannot cache latents: ${option} is on for ${imageDir} of network 1, so that every step shows other pixels; ` +
          "turn it off, or take encodeLatents instead of cacheLatents (no --cache_latents)",
      );
    }
    const { error, events } = await run({ faceCropAugRange: [1, 2], flipAug: true });
    equal(error, null);
    deepEqual(events.flatMap((event) => event.type === "warning" ? [event.message] : []), [
      `${imageDir}: no file's name ends in _<x>_<y>_<width>_<height> of a face: faceCropAugRange decides nothing there`,
      `faceCropAugRange of ${imageDir} has no effect: cached latents are those of the picture's middle`,
    ]);
  }));

Deno.test("encodeLatents() draws latents by sample, and takes the mean of held-out pictures", () =>
  inNewFolder(async (folder) => {
    const imageDir = await drawPictures(join(folder, "one"), [[64, 64], [64, 64]]);
    const recipe = d.pipeline("latents").use(d.loadBases({ network1: "toy" }))
      .use(d.readDatasets({ network1: [{ resolution: 64, subsets: [{ imageDir }] }], validationSplit: 0.5 }));
    const { values } = await recipe.use(d.cacheLatents()).run({
      folder: join(folder, "run"),
      keep: ["bases", "data", "latents"],
    });
    const uncached = recipe.use(d.encodeLatents()), { figures } = (await uncached.describe()).steps.at(-1)!;
    // The toy's VAE has 0.53 MB of f16 numbers in its file, twice as much in f32; encoding 64 × 64 pixels takes more beside.
    ok(figures.vaeGpuBytes > 1.05e6 && figures.vaeGpuBytes < 2e7, `${figures.vaeGpuBytes}`);
    const live = await uncached.run({ folder: join(folder, "live"), keep: ["latents"] });
    try {
      const { bases, data, latents: cache } = values, dataset = datasetOf(data.network1);
      using cached = await cache.open(bases);
      using drawn = await live.values.latents.open(bases);
      const [[heldOut], [sample]] = [dataset.validationBatches()[0].samples, dataset.epoch(0)[0].samples].map((all) =>
        all
      );
      const [[mean], [again]] = [await cached.get([heldOut]), await drawn.get([heldOut])];
      deepEqual(again.values, mean.values);
      const draws = async (epoch: number) => (await drawn.get(dataset.epoch(epoch)[0].samples))[0].values;
      const [first, second] = [await draws(0), await draws(1)];
      deepEqual(await draws(0), first);
      notDeepEqual(second, first);
      // Around the mean: over 256 numbers their distances even out.
      const [{ values: middle }] = await cached.get([sample]);
      const bias = middle.reduce((sum, value, at) => sum + first[at] - value, 0) / middle.length;
      const spread = Math.sqrt(middle.reduce((sum, value, at) => sum + (first[at] - value) ** 2, 0) / middle.length);
      ok(spread > 0.01 && Math.abs(bias) < 5 * spread / Math.sqrt(middle.length), `bias ${bias}, spread ${spread}`);
    } finally {
      values.bases.release();
    }
  }));

Deno.test("readDatasets() refuses unknown options at every level, and no data sets", async () => {
  // deno-lint-ignore no-explicit-any
  const make = (options: any) => () => d.readDatasets(options);
  const step = "Cannot make step 'read data':";
  throws(make({ network1: [], seed: 1 }), {
    message: `${step} network1 must be a list of data sets, with at least one`,
  });
  throws(make({ network1: [{ resolutoin: 64 }] }), {
    message: `${step} unknown option network1[0].resolutoin; did you mean resolution?`,
  });
  throws(make({ network1: [{ subsets: [{ image_dir: "a" }] }] }), {
    message: `${step} unknown option network1[0].subsets[0].image_dir; did you mean imageDir?`,
  });
  await rejects(d.pipeline("none").use(d.readDatasets({ network1: [{ resolution: 64 }] })).describe(), {
    message: "Cannot make the data set of network 1: no training image",
  });
});
