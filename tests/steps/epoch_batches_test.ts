import { deepEqual, equal, notDeepEqual } from "node:assert/strict";
import { Dataset } from "../../data/dataset.ts";
import type { SubsetOptions } from "../../data/dataset_options.ts";
import { testFolder, testSource } from "../../data/_test_sources.ts";
import { epochSteps } from "../../steps/values/epoch_batches.ts";
import type { OpenedLatents } from "../../steps/values/latents.ts";
import { trainingLength, type TrainingSide } from "../../steps/values/training_loop.ts";

const wide = { width: 192, height: 64 }, square = { width: 128, height: 128 };

/** Latents whose one number is the bucket's width, and token ids that are the number of tags. */
const latents: OpenedLatents = {
  get: (samples) =>
    Promise.resolve(samples.map(({ cut: { size } }) => {
      return { height: size.height / 8, width: size.width / 8, values: Float32Array.of(size.width) };
    })),
  [Symbol.dispose]: () => {},
};

function side(number: 1 | 2, count: number, options: SubsetOptions): TrainingSide {
  const sizes = Array.from({ length: count }, (_, at) => at % 2 ? wide : square);
  const source = testSource([testFolder(`n${number}`, 1, sizes, options)], {
    ...{ resolution: 128, enableBucket: true, minBucketReso: 64, maxBucketReso: 256, batchSize: number },
  });
  const dataset = new Dataset([source], { name: `network ${number}`, seed: 1, stream: number });
  const tokenizer = { chunks: (caption: string) => [[caption === "" ? 0 : caption.split(",").length]] };
  return { number, dataset, tokenizer } as unknown as TrainingSide;
}

/** The tags of all captions of network 1, step by step. */
async function tagsOf(sides: TrainingSide[], epoch: number, accumulationSteps: number): Promise<number[][]> {
  const { stepsPerEpoch, totalSteps } = trainingLength(sides.map(({ dataset }) => dataset), {
    epochs: 4,
    accumulationSteps,
  });
  const time = { firstStep: epoch * stepsPerEpoch, accumulationSteps, maxTrainSteps: totalSteps };
  const steps = epochSteps(sides, latents, epoch, time, {});
  equal(steps.length, stepsPerEpoch);
  const made = await Promise.all(steps.map((step) => step()));
  return made.map((micro) => micro.flatMap(([batch]) => batch.samples.map(({ ids }) => ids[0])));
}

Deno.test("captionDropoutEveryNEpochs empties the captions of every n-th epoch alone", async () => {
  const sides = [side(1, 4, { captionDropoutEveryNEpochs: 2 })];
  const tags = await Promise.all([0, 1, 2, 3].map((epoch) => tagsOf(sides, epoch, 1)));
  deepEqual(tags.map((steps) => [...new Set(steps.flat())]), [[4], [0], [4], [0]]);
});

Deno.test("tags warm up with the run's optimizer steps, whatever is gathered into one", async () => {
  const sides = () => [side(1, 8, { tokenWarmupStep: 0.5, tokenWarmupMin: 1 })];
  // Four tags, one at first, all from half of the run on: 1 + floor(step · 3 / length). 32 steps; 16 with two batches each.
  const expected = (steps: number) =>
    Array.from({ length: steps }, (_, step) => Math.min(4, 1 + Math.floor(step * 6 / steps)));
  for (const [accumulation, total] of [[1, 32], [2, 16]]) {
    const found: number[][] = [];
    for (let epoch = 0; epoch < 4; epoch++) found.push(...await tagsOf(sides(), epoch, accumulation));
    deepEqual(found.map((tags) => [...new Set(tags)]), expected(total).map((count) => [count]));
  }
});

Deno.test("buckets are shuffled anew in each epoch, and the shorter network's batches come again in the same epoch", async () => {
  const sides = [side(1, 7, {}), side(2, 4, { shuffleCaption: true })];
  const shapes = async (epoch: number) => {
    const steps = await Promise.all(epochSteps(sides, latents, epoch, {}, {}).map((step) => step()));
    return steps.map(([[one, two]]) =>
      [one, two].map(({ width, height, samples }) => `${width}x${height} ${samples.length}`)
    );
  };
  const first = await shapes(0);
  // Network 1 has 7 batches of one picture, network 2 a batch of two squares and one of two wide pictures.
  equal(first.length, 7);
  deepEqual(first.map(([one]) => one).sort(), [...Array(4).fill("16x16 1"), ...Array(3).fill("24x8 1")]);
  deepEqual([...first.slice(0, 2).map(([, two]) => two)].sort(), ["16x16 2", "24x8 2"]);
  for (const [at, [, two]] of first.entries()) equal(two, first[at % 2][1]);
  deepEqual(await shapes(0), first);
  const later = await Promise.all([1, 2, 3].map(shapes));
  for (const epoch of later) notDeepEqual(epoch.map(([one]) => one), first.map(([one]) => one));
});
