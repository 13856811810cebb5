import { deepEqual, equal, notDeepEqual, ok, throws } from "node:assert/strict";
import { join } from "node:path";
import { Dataset, type DatasetContext, pairEpoch, type Sample } from "./dataset.ts";
import type { DatasetOptions, SubsetOptions } from "./dataset_options.ts";
import { describeDataset } from "./describe_dataset.ts";
import { regularizationRepeats } from "./regularization.ts";
import type { DatasetSource, Subset } from "./subset.ts";
import { squares, testFolder, testSource } from "./_test_sources.ts";

const { cases, dual_pairs } = JSON.parse(
  await Deno.readTextFile(join(import.meta.dirname!, "../tests/golden/files/batches.json")),
);

const context: DatasetContext = { name: "network 1", seed: 1 };

/** A data set of training folders and regularization folders. */
function datasetOf(
  train: readonly Subset[],
  regularization: readonly Subset[] = [],
  options: DatasetOptions = {},
  changed: Partial<DatasetContext> = {},
): Dataset {
  const priors = regularization.map((folder) => ({ ...folder, settings: { ...folder.settings, isReg: true } }));
  return new Dataset([testSource([...train, ...priors], options)], { ...context, ...changed });
}

function samplesOf(dataset: Dataset, epoch: number): Sample[] {
  return dataset.epoch(epoch).flatMap(({ samples }) => samples);
}

// deno-lint-ignore no-explicit-any
function goldenFolders(rows: any, prefix: string): Subset[] {
  return rows
    .map(([repeats, sizes]: [number, number[][]], at: number) =>
      testFolder(`${prefix}${at}`, repeats, sizes.map(([width, height]) => ({ width, height })))
    )
    .filter(({ settings }: Subset) => settings.numRepeats > 0);
}

// deno-lint-ignore no-explicit-any
function goldenDataset(row: any): Dataset {
  return datasetOf(goldenFolders(row.train, "train"), goldenFolders(row.reg, "reg"), {
    resolution: row.resolution,
    batchSize: row.train_batch_size,
    enableBucket: true,
    minBucketReso: row.min_bucket_reso,
    maxBucketReso: row.max_bucket_reso,
    bucketResoSteps: row.bucket_reso_steps,
    bucketNoUpscale: row.bucket_no_upscale,
  });
}

Deno.test("Dataset repeats training and regularization images as sd-scripts does", () => {
  for (const row of cases) {
    const dataset = goldenDataset(row), figures = describeDataset(dataset);
    equal(figures.trainSamples, row.num_train_images);
    equal(figures.regularizationOffered, row.num_reg_images);
    equal(figures.regularizationUnused, row.reg_unused);
    const shown = dataset.images.filter(({ subset, repeats }) => subset.settings.isReg && repeats > 0);
    deepEqual(Object.fromEntries(shown.map(({ path, repeats }) => [path, repeats])), row.reg_repeats);
  }
  equal(cases.length, 32);
});

Deno.test("Dataset has sd-scripts' buckets, batches and aspect error", () => {
  for (const row of cases) {
    const dataset = goldenDataset(row), figures = describeDataset(dataset);
    const [{ buckets, meanAspectError }] = figures.parts;
    deepEqual(buckets.map(({ width, height, samples }) => [width, height, samples]), row.buckets);
    equal(figures.batchesPerEpoch, row.batches);
    const bySize: Record<number, number> = {}, batches = dataset.epoch(3);
    for (const { samples } of batches) bySize[samples.length] = (bySize[samples.length] ?? 0) + 1;
    deepEqual(bySize, row.batches_by_size);
    // To the last digit: NumPy's order of summing.
    equal(meanAspectError, row.mean_ar_error);
    for (const { width, height, samples } of batches) {
      for (const { image, cut } of samples) deepEqual([image.bucket, cut.size], Array(2).fill({ width, height }));
    }
  }
});

Deno.test("regularizationRepeats() may overshoot in the first round and fills up one by one after it", () => {
  deepEqual(regularizationRepeats([], 10), []);
  deepEqual(regularizationRepeats([{ repeats: 10, imageCount: 2 }], 5), [10, 0]);
  deepEqual(regularizationRepeats([{ repeats: 2, imageCount: 1 }, { repeats: 1, imageCount: 2 }], 9), [4, 3, 2]);
});

Deno.test("Dataset shows every image as often as it should in each epoch, the short batch last", () => {
  const train = [testFolder("a", 3, squares(3))], priors = [testFolder("r", 1, squares(4))];
  const dataset = datasetOf(train, priors, { priorLossWeight: 0.25 });
  for (const epoch of [0, 1, 7]) {
    deepEqual(dataset.epoch(epoch).map(({ samples }) => samples.length), [4, 4, 4, 4, 2]);
    const counts = new Map<string, number>(), samples = samplesOf(dataset, epoch);
    for (const { image } of samples) counts.set(image.path, (counts.get(image.path) ?? 0) + 1);
    deepEqual(Object.fromEntries([...counts].sort()), {
      "a/000.png": 3,
      "a/001.png": 3,
      "a/002.png": 3,
      "r/000.png": 3,
      "r/001.png": 2,
      "r/002.png": 2,
      "r/003.png": 2,
    });
    for (const { image } of samples) equal(image.lossWeight, image.path.startsWith("r") ? 0.25 : 1);
  }
});

Deno.test("Dataset mixes the batches of all buckets and data sets anew in each epoch", () => {
  const wide = { width: 192, height: 64 }, options = { enableBucket: true, minBucketReso: 64, maxBucketReso: 256 };
  const source = (path: string) =>
    testSource([testFolder(path, 8, [...squares(1), wide])], { ...options, resolution: 128, batchSize: 2 });
  const dataset = new Dataset([source("a"), source("b")], context);
  const kinds = (epoch: number) =>
    dataset.epoch(epoch).map(({ width, samples }) => `${samples[0].image.subset.path}${width}`);
  deepEqual([...kinds(0)].sort(), ["a128", "a192", "b128", "b192"].flatMap((kind) => Array(4).fill(kind)));
  notDeepEqual(kinds(0), kinds(1));
  deepEqual(kinds(1), kinds(1));
  // Of 16 batches in four kinds, neighbours differ in 12 of 15 places on average; sorted ones in 3.
  const changes = [0, 1, 2, 3].map((epoch) => {
    return kinds(epoch).filter((kind, at, all) => at > 0 && kind !== all[at - 1]).length;
  });
  ok(changes.every((count) => count > 6), `${changes}`);
});

Deno.test("Dataset shuffles by seed, stream and epoch alone", () => {
  const make = (changed: Partial<DatasetContext> = {}) =>
    datasetOf([testFolder("a", 5, squares(4))], [testFolder("r", 1, squares(5))], {}, changed);
  const order = (dataset: Dataset, epoch: number) => samplesOf(dataset, epoch).map(({ image }) => image.path);
  const dataset = make();
  const first = order(dataset, 2);
  order(dataset, 0);
  deepEqual(order(dataset, 2), first);
  deepEqual(order(make(), 2), first);
  for (const other of [order(dataset, 3), order(make({ seed: 2 }), 2), order(make({ stream: 1 }), 2)]) {
    notDeepEqual(other, first);
  }
});

Deno.test("Dataset changes each sample by its own folder's settings, without changing the order", () => {
  const make = (changed: SubsetOptions) => {
    const priors = testFolder("r", 1, squares(40, 200));
    return samplesOf(datasetOf([testFolder("a", 20, squares(4, 200), changed)], [priors], { resolution: 64 }), 0);
  };
  const all = { shuffleCaption: true, keepTokens: 1, flipAug: true, colorAug: true, randomCrop: true };
  const plain = make({}), changed = make(all), isPrior = ({ image }: Sample) => image.subset.settings.isReg;
  deepEqual(changed.map(({ image }) => image.path), plain.map(({ image }) => image.path));
  for (const { caption, image, isFlipped, colour, cut } of [...plain, ...changed.filter(isPrior)]) {
    equal(caption, image.caption);
    deepEqual([isFlipped, colour, cut.left, cut.top], [false, null, 0, 0]);
    deepEqual(cut.scaled, { width: 64, height: 64 });
  }
  const own = changed.filter((sample) => !isPrior(sample)), places = own.map(({ cut }) => `${cut.left} ${cut.top}`);
  equal(own.length, 80);
  equal(new Set(own.map(({ caption }) => caption.replace(/^a \d+, /, ""))).size, 6);
  // 80 draws of 1 in 2: 40 with a deviation of 4.5; of 33 in 100: 26 with 4.2.
  const flipped = own.filter(({ isFlipped }) => isFlipped).length, coloured = own.filter(({ colour }) => colour).length;
  ok(flipped > 20 && flipped < 60, `${flipped} flipped`);
  ok(coloured > 9 && coloured < 44, `${coloured} with other colours`);
  // Cut out of the picture as it is: 137 places along each side.
  ok(own.every(({ cut }) => cut.scaled.width === 200 && cut.left <= 136 && cut.top <= 136));
  ok(new Set(places).size > 70, `${new Set(places).size} places`);
});

Deno.test("captions are shuffled evenly, and dropped as often as the rates say", () => {
  const captions = { shuffleCaption: true, keepTokens: 1, captionDropoutRate: 0.2 };
  const drawn = (settings: SubsetOptions) =>
    samplesOf(datasetOf([testFolder("a", 3000, squares(1), settings)]), 0).map(({ caption }) => caption);
  const shuffled = drawn(captions), empty = shuffled.filter((caption) => caption === "").length;
  // 0.2 of 3000: 600 with a deviation of 22; each of six orders has 400 of the rest, with 18.
  ok(Math.abs(empty - 600) < 110, `${empty} empty`);
  const orders = Map.groupBy(shuffled.filter((caption) => caption !== ""), (caption) => caption);
  equal(orders.size, 6);
  for (const [order, all] of orders) ok(Math.abs(all.length - 400) < 95, `${all.length} of ${order}`);
  // Each of three tags is kept with 0.7: 2100 with a deviation of 25. The kept one always stays.
  const thinned = drawn({ keepTokens: 1, captionTagDropoutRate: 0.3 }).map((caption) => caption.split(", "));
  ok(thinned.every(([first]) => first === "a 000"));
  for (const tag of ["a", "b", "c"]) {
    const count = thinned.filter((tags) => tags.slice(1).includes(tag)).length;
    ok(Math.abs(count - 2100) < 130, `${tag}: ${count}`);
  }
});

Deno.test("one changed option leaves the other options' draws alone", () => {
  const make = (changed: SubsetOptions) =>
    samplesOf(datasetOf([testFolder("a", 20, squares(2, 200), { flipAug: true, ...changed })]), 1);
  const flips = (samples: Sample[]) => samples.map(({ isFlipped }) => isFlipped);
  const plain = make({}), changed = make({ shuffleCaption: true, captionDropoutRate: 0.5, randomCrop: true });
  deepEqual(flips(changed), flips(plain));
});

Deno.test("a sample's draws depend on seed, epoch and sample, not on the size of batches", () => {
  const make = (batchSize: number) =>
    datasetOf([testFolder("a", 9, squares(3), { shuffleCaption: true, flipAug: true })], [], { batchSize });
  const drawn = (dataset: Dataset, epoch: number) =>
    samplesOf(dataset, epoch).map(({ draw, caption, isFlipped }) => `${JSON.stringify(draw)} ${caption} ${isFlipped}`)
      .sort();
  deepEqual(drawn(make(2), 4), drawn(make(5), 4));
  notDeepEqual(drawn(make(2), 4), drawn(make(2), 5));
});

Deno.test("Dataset counts epochs from 1 and steps from the first for captions", () => {
  const settings = { tokenWarmupStep: 0.5, tokenWarmupMin: 1, captionDropoutEveryNEpochs: 2 };
  const dataset = datasetOf([testFolder("a", 4, squares(1), settings)], [], { batchSize: 1 });
  // Four tags, one at first, all from step 6 on: floor(step * 3 / 6) + 1.
  const tags = (epoch: number, time: { firstStep?: number; accumulationSteps?: number } = {}) =>
    dataset.epoch(epoch, { maxTrainSteps: 12, ...time }).flatMap(({ samples }) => samples)
      .map(({ caption }) => caption === "" ? 0 : caption.split(",").length);
  deepEqual(tags(0), [1, 1, 2, 2]);
  deepEqual(tags(1), [0, 0, 0, 0]);
  deepEqual(tags(2), [4, 4, 4, 4]);
  deepEqual(tags(2, { firstStep: 3 }), [2, 3, 3, 4]);
  // Two batches a step: steps 3, 3, 4, 4.
  deepEqual(tags(2, { firstStep: 3, accumulationSteps: 2 }), [2, 2, 3, 3]);
});

Deno.test("Dataset holds out the same pictures of each folder whatever else is there", () => {
  const folders = [testFolder("a", 3, squares(10)), testFolder("b", 1, squares(4, 200))];
  const make = (priors: Subset[], changed: Partial<DatasetContext> = {}) =>
    datasetOf(folders, priors, { batchSize: 3 }, { validationSplit: 0.25, ...changed });
  const heldOut = (dataset: Dataset) => dataset.images.filter(({ isHeldOut }) => isHeldOut).map(({ path }) => path);
  const dataset = make([]), found = heldOut(dataset);
  // 2.5 rounds to 3.
  deepEqual([3, 1], ["a", "b"].map((path) => found.filter((name) => name.startsWith(path)).length));
  deepEqual(heldOut(make([testFolder("r", 1, squares(8))])), found);
  notDeepEqual(heldOut(make([], { validationSeed: 8 })), found);
  deepEqual(heldOut(make([], { seed: 5, validationSeed: 8 })), heldOut(make([], { validationSeed: 8 })));
  const figures = describeDataset(dataset);
  deepEqual([figures.trainImages, figures.trainSamples, figures.heldOutImages], [10, 7 * 3 + 3, 4]);
  ok(samplesOf(dataset, 0).every(({ image }) => !found.includes(image.path)));
  const batches = dataset.validationBatches();
  deepEqual(batches.map(({ samples }) => samples.length), [3, 1]);
  deepEqual(batches.flatMap(({ samples }) => samples.map(({ image }) => image.path)), found);
  ok(batches.every(({ samples }) => samples.every(({ caption, image }) => caption === image.caption)));
});

Deno.test("Dataset refuses shares that hold out nothing or everything", () => {
  const make = (validationSplit: number) => () =>
    datasetOf([testFolder("a", 1, squares(4))], [], {}, { validationSplit });
  throws(make(1), /validationSplit is 1, must be from 0 to less than 1/);
  throws(make(0.1), /validationSplit 0.1 of 4 pictures is 0; at least one must be held out and one left/);
  throws(make(0.9), /validationSplit 0.9 of 4 pictures is 4/);
});

Deno.test("describeDataset() counts a data set", () => {
  const priors = testFolder("r", 3, squares(20), { isReg: true }), train = testFolder("a", 10, squares(4));
  const { parts, ...figures } = describeDataset(datasetOf([train], [priors]));
  deepEqual(figures, {
    name: "network 1",
    trainImages: 4,
    trainSamples: 40,
    heldOutImages: 0,
    regularizationImages: 20,
    regularizationOffered: 60,
    // 14 images with 3 repeats are the first to make 40.
    regularizationSamples: 42,
    regularizationUnused: 6,
    batchesPerEpoch: 21,
  });
  equal(parts.length, 1);
  deepEqual(parts[0].buckets, [{ width: 64, height: 128, samples: 82, batches: 21 }]);
  deepEqual(parts[0].subsets.map(({ path, images }) => [path, images]), [["a", 4], ["r", 20]]);
});

Deno.test("Dataset refuses sizes, numbers and folders that cannot work", () => {
  const make = (options: DatasetOptions, train = [testFolder("a", 1, squares(1))]) => () =>
    datasetOf(train, [], options);
  throws(
    make({ resolution: [4, 128] }),
    /Cannot use the image size 4 x 128 of network 1: .*whole numbers of pixels, 8 at least/,
  );
  throws(make({ batchSize: 0 }), /Cannot use the data of network 1: batchSize is 0, must be a whole number above 0/);
  throws(make({ priorLossWeight: -1 }), /priorLossWeight is -1/);
  throws(make({ enableBucket: true, minBucketReso: 128 }), /minBucketReso is 128, must be at most .* 64 x 128/);
  throws(make({}, []), /no training image/);
  throws(make({}, [testFolder("much", 1e20, squares(1))]), /make 100000000000000000000 samples .* of much/);
  throws(() => new Dataset([testSource([])], { ...context, stream: 70000 }), /stream is 70000/);
  const small: DatasetSource = testSource([testFolder("a", 1, [{ width: 3, height: 900 }])], {
    resolution: 256,
    enableBucket: true,
    bucketNoUpscale: true,
  });
  throws(
    () => new Dataset([small], context),
    /Cannot find a bucket for a\/000.png: of 3 x 900 pixels, it is too small/,
  );
});

Deno.test("pairEpoch() replays the shorter data set until the longer one ends", () => {
  deepEqual(pairEpoch([1], ["a", "b", "c"]), [[1, "a"], [1, "b"], [1, "c"]]);
  for (const { batches_1, batches_2, batches_seen_per_epoch } of dual_pairs.cases) {
    const pairs = pairEpoch(Array.from({ length: batches_1 }, (_, at) => at), new Array(batches_2).fill(null));
    equal(pairs.length, batches_seen_per_epoch);
    equal(pairs.at(-1)![0], (batches_seen_per_epoch - 1) % batches_1);
  }
  throws(() => pairEpoch([], [1]), RangeError);
});
