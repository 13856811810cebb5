import { deepEqual, equal } from "node:assert/strict";
import { Dataset } from "../../data/dataset.ts";
import type { DatasetOptions } from "../../data/dataset_options.ts";
import { describeDataset } from "../../data/describe_dataset.ts";
import { squares, testFolder, testSource } from "../../data/_test_sources.ts";
import { runTable, runTableLines } from "./run_table.ts";

function described(stream: number, options: DatasetOptions, ...folders: ReturnType<typeof testFolder>[]) {
  const context = { name: `network ${stream}`, seed: 1, stream };
  return describeDataset(new Dataset([testSource(folders, { resolution: 64, ...options })], context));
}

Deno.test("runTable() says of two networks what is shown, what a step and an epoch are, and where the run ends", () => {
  const one = described(
    1,
    { batchSize: 4 },
    testFolder("a", 10, squares(12)),
    testFolder("r", 1, squares(200), { isReg: true }),
  );
  const two = described(2, { batchSize: 2 }, testFolder("b", 3, squares(5)), testFolder("c", 2, squares(3)));
  // 240 samples in fours are 60 batches, 21 in twos are 11; two batches a step make 30 steps, and 130 are 4 epochs and 10 steps.
  const rows = runTable([one, two], {
    ...{ stepsPerEpoch: 30, epochs: 5, totalSteps: 130, accumulationSteps: 2 },
    ...{ peakGpuBytes: 3 * 2 ** 29, diskBytes: 2 ** 30, time: { seconds: 65, adapters: ["a card"] } },
  });
  deepEqual(runTableLines(rows, ["network 1", "network 2"]), [
    "                               network 1                                  network 2",
    "training pictures in an epoch  12 pictures × 10 repeats = 120 shown       8 pictures × 3 or 2 repeats = 21 shown",
    "regularization pictures        200 pictures, 120 shown, 80 of them never  none",
    "sizes                          64×64 pixels                               64×64 pixels",
    "batches in an epoch            60 batches of 4                            11 batches of 2",
    "shown in an epoch              each once                                  each 5.5 times, so that both last",
    "a step                         2 batches of each network, gathered, then the weights change once",
    "an epoch                       30 steps: 60 batches / 2, those of the longer data set",
    "the run                        130 steps = 5 epochs, the last one cut off after 10 of its 30 steps",
    "memory                         1.5 GiB on the GPU at most",
    "disk                           1.0 GiB written at most",
    "time                           about 1 min 5 s, 0.50 s a step, as measured before on a card",
  ]);
});

Deno.test("runTable() of one network with buckets and pictures held out", () => {
  const wide = { width: 192, height: 64 },
    high = { width: 64, height: 192 },
    options = { enableBucket: true, minBucketReso: 64, maxBucketReso: 256 };
  const folder = testFolder("a", 1, [...squares(5), wide, wide, high]);
  const source = testSource([folder], { resolution: 128, batchSize: 3, ...options });
  const data = new Dataset([source], { name: "network 1", seed: 1, validationSplit: 0.125 });
  const [{ buckets }] = describeDataset(data).parts, sizes = buckets.map(({ samples }) => samples);
  equal(sizes.reduce((sum, samples) => sum + samples), 7);
  const rows = runTable([describeDataset(data)], { stepsPerEpoch: 4, epochs: 2, totalSteps: 8 });
  const text = Object.fromEntries(rows.map(({ label, values }) => [label, values.join()]));
  equal(text["training pictures in an epoch"], "7 pictures × 1 repeat = 7 shown");
  equal(text["held out for validation"], "1 picture");
  equal(text["a step"], "one batch, then the weights change once");
  equal(text["an epoch"], `4 steps: ${data.batchesPerEpoch} batches`);
  equal(text["the run"], "8 steps = 2 epochs");
  equal("time" in text || "memory" in text, false);
  const [{ label, values }] = runTable([describeDataset(data)], {
    stepsPerEpoch: 4,
    epochs: 2,
    totalSteps: 8,
    time: null,
  }).slice(-1);
  deepEqual([label, values], ["time", [
    "known after the first steps: such steps were not measured on this machine yet",
  ]]);
});
