import { deepEqual, equal, ok, throws } from "node:assert/strict";
import { join } from "node:path";
import { bucketSelector, type BucketSettings, bucketSizes, nearestBucket } from "./buckets.ts";

const { cases } = JSON.parse(await Deno.readTextFile(join(import.meta.dirname!, "../tests/golden/files/buckets.json")));

// deno-lint-ignore no-explicit-any
function settingsOf(row: any): BucketSettings {
  return {
    resolution: { width: row.resolution[0], height: row.resolution[1] },
    minBucketReso: row.min_bucket_reso,
    maxBucketReso: row.max_bucket_reso,
    bucketResoSteps: row.bucket_reso_steps,
    bucketNoUpscale: row.bucket_no_upscale,
  };
}

Deno.test("bucketSizes() makes the resolutions that sd-scripts makes", () => {
  let compared = 0;
  for (const row of cases) {
    if (row.bucket_no_upscale) continue;
    if (row.resolutions === null) {
      throws(() => bucketSizes(settingsOf(row)), /RangeError: Cannot make buckets: bucketResoSteps is \d+, too much/);
    } else {
      deepEqual(bucketSizes(settingsOf(row)).map(({ width, height }) => [width, height]), row.resolutions);
    }
    compared++;
  }
  equal(compared, 19);
});

Deno.test("bucketSelector() sorts, scales and cuts every picture as sd-scripts does", () => {
  let compared = 0, refused = 0;
  for (const row of cases) {
    if (row.resolutions === null) continue;
    ok(row.accepted);
    const select = bucketSelector(settingsOf(row));
    for (const [width, height, ...expected] of row.images) {
      if (typeof expected[0] === "string") {
        throws(() => select({ width, height }), /^RangeError: of \d+ x \d+ pixels, it is too small or too narrow/);
        refused++;
        continue;
      }
      const { bucket, resized, aspectError } = select({ width, height });
      const cut = [resized.width - bucket.width, resized.height - bucket.height].map((rest) => Math.floor(rest / 2));
      const found = [bucket.width, bucket.height, resized.width, resized.height, ...cut, aspectError];
      deepEqual(found, expected, `${width} x ${height} with ${JSON.stringify({ ...row, images: 0 })}`);
      compared++;
    }
  }
  // All rows of the golden: 7 settings of 300 sizes, 14 of 70.
  equal(compared + refused, 3080);
  ok(refused > 50, `${refused} refused`);
});

Deno.test("nearestBucket() takes the first of equally near sizes, but leaves a picture that has one of them", () => {
  const [small, large] = [64, 128].map((side) => ({ width: side, height: side }));
  const select = nearestBucket([small, large]);
  deepEqual(select({ width: 200, height: 200 }), { bucket: small, resized: small, aspectError: 0 });
  deepEqual(select({ width: 128, height: 128 }), { bucket: large, resized: large, aspectError: 0 });
});

Deno.test("bucketSelector() refuses limits that the resolution does not keep, and steps that are no number", () => {
  const make = (changed: Partial<BucketSettings>) => () => bucketSelector({ ...settingsOf(cases[0]), ...changed });
  throws(make({ minBucketReso: 576 }), /minBucketReso is 576, must be at most the shorter side .* 512 x 512/);
  throws(make({ maxBucketReso: 448 }), /maxBucketReso is 448, must be at least the longer side .* 512 x 512/);
  throws(make({ bucketResoSteps: 0 }), /bucketResoSteps is 0, must be a whole number above 0/);
});
