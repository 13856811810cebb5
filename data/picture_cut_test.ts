import { deepEqual, equal, ok } from "node:assert/strict";
import { RandomStream } from "../random/philox.ts";
import { bucketCut, faceOf, middleCut, type PictureCut, plainCut } from "./picture_cut.ts";

const plain = { randomCrop: false, faceCropAugRange: null };

function random(step: number): RandomStream {
  return new RandomStream({ seed: 1, stream: 0, step });
}

/** Many draws of one cut. */
function draws(make: (random: RandomStream) => PictureCut, count = 400): PictureCut[] {
  return Array.from({ length: count }, (_, step) => make(random(step)));
}

function extremes(values: readonly number[]): [number, number] {
  return [Math.min(...values), Math.max(...values)];
}

Deno.test("cuts are in the middle unless a setting asks for more", () => {
  // Half of 137 and of 0, rounded down.
  const cut = bucketCut({ width: 201, height: 64 }, { width: 64, height: 64 }, plain, random(0));
  deepEqual(cut, { scaled: { width: 201, height: 64 }, left: 68, top: 0, size: { width: 64, height: 64 } });
  const small = plainCut({ width: 3, height: 5 }, "a.png", { width: 64, height: 64 }, plain, random(0));
  // 64 / 3 times 5 is 106.67.
  deepEqual(small, { scaled: { width: 64, height: 107 }, left: 0, top: 21, size: { width: 64, height: 64 } });
});

Deno.test("randomCrop in a bucket reaches every place of the scaled picture equally often", () => {
  const bucket = { width: 64, height: 64 }, settings = { ...plain, randomCrop: true };
  const cuts = draws((random) => bucketCut({ width: 73, height: 64 }, bucket, settings, random), 1000);
  const counts = new Array<number>(10).fill(0);
  for (const { left, top } of cuts) {
    counts[left]++;
    equal(top, 0);
  }
  // 100 each, with a deviation of 9.5.
  ok(counts.every((count) => Math.abs(count - 100) < 48), `${counts}`);
});

Deno.test("randomCrop without buckets cuts out of the picture as it is, or out of a scaled one if it is too small", () => {
  const size = { width: 64, height: 64 }, settings = { ...plain, randomCrop: true };
  const large = draws((random) => plainCut({ width: 100, height: 70 }, "a_50_50_9_9.png", size, settings, random));
  ok(large.every(({ scaled }) => scaled.width === 100 && scaled.height === 70));
  deepEqual(extremes(large.map(({ left }) => left)), [0, 36]);
  deepEqual(extremes(large.map(({ top }) => top)), [0, 6]);
  const small = draws((random) => plainCut({ width: 100, height: 50 }, "a.png", size, settings, random));
  ok(small.every(({ scaled, top }) => scaled.width === 128 && scaled.height === 64 && top === 0));
  deepEqual(extremes(small.map(({ left }) => left)), [0, 64]);
});

Deno.test("faceOf() reads the four numbers at the end of a name", () => {
  equal(faceOf("a/1_2_3.png"), undefined);
  equal(faceOf("a/girl_1_2_3_4_.png"), undefined);
  deepEqual(faceOf("x_y_7_8_9_10.JPG"), { x: 7, y: 8, width: 9, height: 10 });
});

Deno.test("faceCropAugRange scales the face into its range and keeps it inside the cut", () => {
  const size = { width: 200, height: 100 }, path = "girl_600_300_50_40.png", image = { width: 1000, height: 800 };
  const settings = { ...plain, faceCropAugRange: [1, 4] as const };
  const cuts = draws((random) => plainCut(image, path, size, settings, random));
  // The shorter side is 1 to 4 faces of 50 pixels long: scaled by 100 / 200 to 100 / 50, but nothing is enlarged.
  const scales = cuts.map(({ scaled }) => scaled.width / image.width), [least, most] = extremes(scales);
  ok(least >= 0.5 && least < 0.51 && most <= 1 && most > 0.99, `${least} ${most}`);
  const mean = scales.reduce((sum, scale) => sum + scale, 0) / scales.length;
  // Even from 0.5 to 1: mean 0.75, with a deviation of 0.144 / 20.
  ok(Math.abs(mean - 0.75) < 0.036, `mean ${mean}`);
  for (const { scaled, left, top } of cuts) {
    const scale = scaled.width / image.width;
    ok(Math.abs(scaled.height - 800 * scale) <= 1, `${scaled.width} x ${scaled.height}`);
    // The face is in the middle, up to a twentieth of its own size and rounding.
    ok(Math.abs(left + 100 - 600 * scale) <= 4 && Math.abs(top + 50 - 300 * scale) <= 4, `${left} ${top} ${scale}`);
  }
});

Deno.test("faceCropAugRange of two equal numbers scales always alike and cuts exactly around the face", () => {
  const settings = { ...plain, faceCropAugRange: [2, 2] as const }, size = { width: 64, height: 64 };
  const image = { width: 400, height: 400 };
  // 64 / (80 · 2) = 0.4; the face's middle at 300, 40 goes to 120, 16, which is nearer to the border than half the cut.
  const expected = { scaled: { width: 160, height: 160 }, left: 88, top: 0, size };
  for (const cut of draws((random) => plainCut(image, "a_300_40_80_80.png", size, settings, random), 20)) {
    deepEqual(cut, expected);
  }
});

Deno.test("faceCropAugRange with randomCrop puts the face anywhere, most often in the middle", () => {
  const settings = { randomCrop: true, faceCropAugRange: [2, 2] as const }, size = { width: 64, height: 64 };
  const cuts = draws((random) => plainCut({ width: 400, height: 400 }, "a_200_200_80_80.png", size, settings, random));
  const lefts = cuts.map(({ left }) => left);
  // Scaled to 160: the face's middle is at 80, the cut's place 48, moved by two draws from 0…80 less 80, held in 0…96.
  ok(cuts.every(({ scaled, left, top }) => scaled.width === 160 && left >= 0 && left <= 96 && top >= 0 && top <= 96));
  const near = lefts.filter((left) => Math.abs(left - 48) <= 20).length / lefts.length;
  // The triangle of 2 · 80 has 1 − (60 / 81)² = 0.44 of its draws within 20 of the middle; a deviation is 0.025.
  ok(Math.abs(near - 0.44) < 0.13, `${near} near the middle`);
});

Deno.test("faceCropAugRange enlarges a picture that is smaller than the cut just enough", () => {
  const settings = { ...plain, faceCropAugRange: [1, 1] as const }, size = { width: 128, height: 128 };
  const cut = plainCut({ width: 100, height: 64 }, "a_50_32_10_10.png", size, settings, random(0));
  deepEqual(cut, { scaled: { width: 200, height: 128 }, left: 36, top: 0, size });
});

Deno.test("a picture of just the size is left alone, and so is one without a face in its name", () => {
  const settings = { ...plain, faceCropAugRange: [1, 4] as const }, size = { width: 64, height: 64 };
  deepEqual(plainCut(size, "a_9_9_3_3.png", size, settings, random(0)), middleCut(size, size));
  deepEqual(
    plainCut({ width: 128, height: 256 }, "a.png", size, settings, random(0)),
    middleCut({ width: 64, height: 128 }, size),
  );
});
