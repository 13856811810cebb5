import { deepEqual, equal, notDeepEqual, ok, throws } from "node:assert/strict";
import { join } from "node:path";
import { Dataset, type DatasetOptions, pairEpoch, regularizationRepeats } from "./dataset.ts";
import type { DreamboothFolder } from "./dreambooth_folder.ts";

const { cases, dual_pairs } = JSON.parse(
  await Deno.readTextFile(join(import.meta.dirname!, "../tests/golden/files/batches.json")),
);

const options: DatasetOptions = { name: "network 1", width: 64, height: 128, batchSize: 4, seed: 1 };

function folder(path: string, repeats: number, imageCount: number): DreamboothFolder {
  const images = Array.from({ length: imageCount }, (_, at) => {
    const name = String(at).padStart(3, "0");
    return { path: `${path}/${name}.png`, caption: `${path} ${name}, a, b, c` };
  });
  return { path, repeats, classTokens: path, images };
}

// deno-lint-ignore no-explicit-any
function goldenFolders(rows: any, prefix: string): DreamboothFolder[] {
  return rows
    .map(([repeats, sizes]: [number, number[][]], at: number) => folder(`${prefix}${at}`, repeats, sizes.length))
    .filter((made: DreamboothFolder) => made.repeats > 0);
}

Deno.test("Dataset repeats training and regularization images as sd-scripts does", () => {
  for (const row of cases) {
    const dataset = new Dataset(goldenFolders(row.train, "train"), goldenFolders(row.reg, "reg"), options);
    const figures = dataset.describe();
    equal(figures.trainSamples, row.num_train_images);
    equal(figures.regularizationUnused, row.reg_unused);
    const shown = dataset.images.filter((image) => image.isRegularization && image.repeats > 0);
    deepEqual(Object.fromEntries(shown.map(({ path, repeats }) => [path, repeats])), row.reg_repeats);
  }
  equal(cases.length, 32);
});

Deno.test("Dataset has the batches that sd-scripts has with one size", () => {
  let compared = 0;
  for (const row of cases) {
    if (row.buckets.length !== 1) continue;
    const train = goldenFolders(row.train, "train");
    const dataset = new Dataset(train, goldenFolders(row.reg, "reg"), { ...options, batchSize: row.train_batch_size });
    equal(dataset.batchesPerEpoch, row.batches);
    const bySize: Record<number, number> = {};
    for (const batch of dataset.epoch(0)) bySize[batch.length] = (bySize[batch.length] ?? 0) + 1;
    deepEqual(bySize, row.batches_by_size);
    compared++;
  }
  ok(compared >= 15, `${compared} compared`);
});

Deno.test("regularizationRepeats() may overshoot in the first round and fills up one by one after it", () => {
  deepEqual(regularizationRepeats([], 10), []);
  deepEqual(regularizationRepeats([{ repeats: 10, imageCount: 2 }], 5), [10, 0]);
  deepEqual(regularizationRepeats([{ repeats: 2, imageCount: 1 }, { repeats: 1, imageCount: 2 }], 9), [4, 3, 2]);
});

Deno.test("Dataset shows every image as often as it should in each epoch, the short batch last", () => {
  const dataset = new Dataset([folder("a", 3, 3)], [folder("r", 1, 4)], { ...options, priorLossWeight: 0.25 });
  for (const epoch of [0, 1, 7]) {
    const batches = dataset.epoch(epoch);
    deepEqual(batches.map((batch) => batch.length), [4, 4, 4, 4, 2]);
    const counts = new Map<string, number>();
    for (const { image } of batches.flat()) counts.set(image.path, (counts.get(image.path) ?? 0) + 1);
    deepEqual(Object.fromEntries([...counts].sort()), {
      "a/000.png": 3,
      "a/001.png": 3,
      "a/002.png": 3,
      "r/000.png": 3,
      "r/001.png": 2,
      "r/002.png": 2,
      "r/003.png": 2,
    });
    for (const { image } of batches.flat()) equal(image.lossWeight, image.path.startsWith("r") ? 0.25 : 1);
  }
});

Deno.test("Dataset shuffles by seed, stream and epoch alone", () => {
  const make = (changed: Partial<DatasetOptions> = {}) =>
    new Dataset([folder("a", 5, 4)], [folder("r", 1, 5)], { ...options, ...changed });
  const order = (dataset: Dataset, epoch: number) => dataset.epoch(epoch).flat().map(({ image }) => image.path);
  const dataset = make();
  const first = order(dataset, 2);
  order(dataset, 0);
  deepEqual(order(dataset, 2), first);
  deepEqual(order(make(), 2), first);
  for (const other of [order(dataset, 3), order(make({ seed: 2 }), 2), order(make({ stream: 1 }), 2)]) {
    notDeepEqual(other, first);
  }
});

Deno.test("Dataset changes captions and flips without changing the order", () => {
  const make = (changed: Partial<DatasetOptions>) =>
    new Dataset([folder("a", 20, 4)], [], { ...options, ...changed }).epoch(0).flat();
  const plain = make({});
  const changed = make({ captions: { shuffleCaption: true, keepTokens: 1 }, flipAugmentation: true });
  deepEqual(changed.map(({ image }) => image.path), plain.map(({ image }) => image.path));
  ok(plain.every(({ caption, image, isFlipped }) => caption === image.caption && !isFlipped));
  const endings = new Set(changed.map(({ caption }) => caption.replace(/^a \d+, /, "")));
  equal(endings.size, 6, [...endings].join(" | "));
  const flipped = changed.filter(({ isFlipped }) => isFlipped).length;
  // 80 throws of a coin: 40 with a standard deviation of 4.5.
  ok(flipped > 20 && flipped < 60, `${flipped} flipped`);
});

Deno.test("Dataset counts epochs from 1 and steps from the first for captions", () => {
  const captions = { tokenWarmupStep: 0.5, tokenWarmupMin: 1, captionDropoutEveryNEpochs: 2 };
  const dataset = new Dataset([folder("a", 4, 1)], [], { ...options, batchSize: 1, maxTrainSteps: 12, captions });
  // Four tags, one at first, all from step 6 on: floor(step * 3 / 6) + 1.
  const tags = (epoch: number, firstStep?: number) =>
    dataset.epoch(epoch, { firstStep }).flat().map(({ caption }) => caption === "" ? 0 : caption.split(",").length);
  deepEqual(tags(0), [1, 1, 2, 2]);
  deepEqual(tags(1), [0, 0, 0, 0]);
  deepEqual(tags(2), [4, 4, 4, 4]);
  deepEqual(tags(2, 3), [2, 3, 3, 4]);
});

Deno.test("describe() gives the figures of a data set", () => {
  const dataset = new Dataset([folder("a", 10, 4)], [folder("r", 3, 20)], options);
  deepEqual(dataset.describe(), {
    name: "network 1",
    width: 64,
    height: 128,
    batchSize: 4,
    trainImages: 4,
    trainSamples: 40,
    regularizationImages: 20,
    // 14 images with 3 repeats are the first to make 40.
    regularizationUnused: 6,
    regularizationSamples: 42,
    batchesPerEpoch: 21,
    folders: [
      { path: "a", repeats: 10, images: 4, classTokens: "a", isRegularization: false },
      { path: "r", repeats: 3, images: 20, classTokens: "r", isRegularization: true },
    ],
  });
});

Deno.test("Dataset refuses sizes, numbers and folders that cannot work", () => {
  const make = (changed: Partial<DatasetOptions>, train = [folder("a", 1, 1)]) => () =>
    new Dataset(train, [], { ...options, ...changed });
  throws(make({ width: 100 }), /Cannot use the image size 100 x 128 of network 1: .*multiples of 64/);
  throws(make({ batchSize: 0 }), /Cannot make the data set of network 1: the batch size is 0/);
  throws(make({ priorLossWeight: -1 }), /prior loss weight is -1/);
  throws(make({ stream: 70000 }), /stream is 70000/);
  throws(make({}, []), /no training image/);
  throws(make({}, [folder("99999999999999999999_a", 1e20, 1)]), /make 100000000000000000000 samples .*_a/);
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
