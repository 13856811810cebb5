import { equal, ok } from "node:assert/strict";
import process from "node:process";
import { testFolder, testSource } from "./_test_sources.ts";
import { Dataset } from "./dataset.ts";

/** CPU time of making a data set of so many pictures of fifty sizes, and its first epoch's batches. */
function cpuMilliseconds(pictures: number): number {
  const sizes = Array.from({ length: pictures }, (_, at) => ({ width: 64 + at % 10 * 8, height: 64 + at % 5 * 8 }));
  const buckets = { minBucketReso: 64, maxBucketReso: 256, bucketResoSteps: 16 };
  const options = { enableBucket: true, resolution: [128, 128] as const, ...buckets };
  const source = testSource([testFolder("a", 1, sizes)], options);
  const before = process.cpuUsage();
  const batches = new Dataset([source], { name: "network 1", seed: 1 }).epoch(0);
  const { user, system } = process.cpuUsage(before);
  equal(batches.reduce((sum, { samples }) => sum + samples.length, 0), pictures);
  return (user + system) / 1000;
}

Deno.test("Making a data set takes time in proportion to its pictures", () => {
  cpuMilliseconds(2000);
  const few = cpuMilliseconds(10_000), many = cpuMilliseconds(80_000);
  // Eight times the pictures: 64 times the time if each were compared with each.
  ok(many < 24 * few, `10,000 pictures took ${few} ms, 80,000 took ${many} ms`);
});
