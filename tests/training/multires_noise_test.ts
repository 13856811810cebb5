import { deepEqual, equal, notDeepEqual, ok } from "node:assert/strict";
import { input, plan, type Tensor } from "../../engine/mod.ts";
import { uniformByRule } from "../../formats/weights_by_rule.ts";
import { toNhwc } from "../../tools/probe/tensors.ts";
import { traceDenoising, type TrainableBase } from "../../training/denoising.ts";
import { batchFeeds, type TrainBatch } from "../../training/feeds.ts";
import {
  addMultiresNoise,
  type Cells,
  drawMultiresSizes,
  largestMultiresSizes,
  multiresSizes,
} from "../../training/multires_noise.ts";
import { RandomStream } from "../../random/philox.ts";
import { goldenJson, relativeError, sharedDevice } from "../probe/golden_tensors.ts";

interface Case {
  readonly shape: [number, number, number, number];
  readonly iterations: number;
  readonly discount: number;
  /** What the program's random numbers were. */
  readonly draws: number[];
  readonly sizes: [number, number][];
  readonly noise: number[];
}

const cases: Case[] = await goldenJson("training/multires_noise");

/** Noise by rule, as the golden has it, `[batch, height, width, channels]`. */
function byRule(name: string, shape: number[]): ArrayLike<number> {
  return toNhwc({ shape, data: uniformByRule(name, shape.reduce((a, b) => a * b)) }).data;
}

/** A picture laid into the upper left corner of a larger one; both `[batch, height, width, channels]`. */
function inCorner(values: ArrayLike<number>, [batch, channels]: number[], small: number[], large: Cells): Float32Array {
  const whole = new Float32Array(batch * large.height * large.width * channels).fill(NaN);
  for (let i = 0; i < values.length; i++) {
    const channel = i % channels, column = Math.floor(i / channels) % small[1];
    const row = Math.floor(i / channels / small[1]) % small[0],
      picture = Math.floor(i / channels / small[1] / small[0]);
    whole[((picture * large.height + row) * large.width + column) * channels + channel] = values[i];
  }
  return whole;
}

Deno.test("noise of several resolutions is sd-scripts', for given noise and ratios", async () => {
  const device = await sharedDevice();
  equal(cases.length, 3);
  for (const [at, { shape, iterations, discount, draws, sizes, noise }] of cases.entries()) {
    const [batch, channels, height, width] = shape, queue = [...draws];
    const found = multiresSizes({ height, width }, iterations, () => 2 + 2 * queue.shift()!);
    deepEqual(found.map(({ height, width }) => [height, width]), sizes, `sizes of case ${at}`);

    const largest = largestMultiresSizes({ height, width }, iterations);
    const result = addMultiresNoise(input("noise", [batch, height, width, channels]), {
      number: 1,
      iterations,
      discount,
      drawn: input,
    });
    const feeds: Record<string, ArrayLike<number>> = { noise: byRule(`multires.${at}`, shape) };
    for (const [level, large] of largest.entries()) {
      const size = sizes[level] ?? [0, 0];
      const values = sizes[level] ? byRule(`multires.${at}.${level}`, [batch, channels, ...size]) : [];
      // What lies outside of the level's size is never read.
      feeds[`multires_${level}`] = inCorner(values, shape, size, large);
      feeds[`multires_${level}_size_1`] = size;
    }
    const program = await device.compile(plan({ outputs: { result } }));
    program.run(feeds);
    const read = await program.read("result");
    const error = relativeError(read.result as Float32Array, toNhwc({ shape, data: Float32Array.from(noise) }).data);
    ok(error < 2e-6, `case ${at}: relative error ${error}`);
    device.release(program);
  }
});

/** A base that hands out what it is asked to denoise: without latents and signal the noise itself. */
function noiseOf(shape: { batch: number; height: number; width: number }, iterations: number, discount: number) {
  let noisy: Tensor | null = null;
  const base: TrainableBase = {
    latentScale: 1,
    encode: (ids) => ids,
    denoise: (sample) => noisy = sample,
  };
  traceDenoising({
    number: 1,
    base,
    shape: { ...shape, tokenRows: 1 },
    loss: { multiresNoiseIterations: iterations, multiresNoiseDiscount: discount },
    noise: "drawn",
    vParameterization: false,
    adapters: () => () => null,
  });
  return noisy!;
}

/** How much of each of `part` cells a cell of `length` is, by bilinear interpolation: rows of the matrix, by hand. */
function enlarging(length: number, part: number): number[][] {
  return Array.from({ length }, (_, place) => {
    const row: number[] = Array(part).fill(0), source = Math.max((place + 0.5) * part / length - 0.5, 0);
    const first = Math.min(Math.floor(source), part - 1), second = Math.min(first + 1, part - 1);
    row[first] += 1 - (source - first);
    row[second] += source - first;
    return row;
  });
}

/** Variance of Σ pattern[row] · pattern[column] · enlarged noise, over that of one cell of a pattern of norm 1. */
function energy(pattern: readonly number[], part: number): number {
  const matrix = enlarging(pattern.length, part);
  return Array.from(
    { length: part },
    (_, column) => pattern.reduce((sum, p, row) => sum + p * matrix[row][column], 0) ** 2,
  )
    .reduce((a, b) => a + b);
}

Deno.test("drawn noise of several resolutions has the variance of each frequency that sd-scripts' has, and 1 in all", async () => {
  const side = 16, batch = 8, iterations = 6, discount = 0.6, runs = 100, device = await sharedDevice();
  const program = await device.compile(
    plan({ outputs: { noise: noiseOf({ batch, height: side, width: side }, iterations, discount) } }),
  );
  // Cosines of norm 1 along each side: the mean of the picture, half a wave, two waves, and up and down from cell to cell.
  const frequencies = [0, 1, 4, 15].map((k) =>
    Array.from({ length: side }, (_, i) => Math.cos(Math.PI * k * (i + 0.5) / side) * Math.sqrt((k ? 2 : 1) / side))
  );
  const sample = { latents: new Float32Array(side * side * 4), ids: [], lossWeight: 1 };
  const pictures: TrainBatch = { height: side, width: side, tokenRows: 1, samples: Array(batch).fill(sample) };
  const found = frequencies.map(() => 0), wanted = frequencies.map(() => 0);
  let firstNoise: ArrayLike<number> = [];
  for (let micro = 0; micro < runs; micro++) {
    const feeds = batchFeeds(pictures, {
      number: 1,
      noise: { trainTimesteps: 1, predictionType: "epsilon", alphasCumprod: [0] },
      loss: { multiresNoiseIterations: iterations, multiresNoiseDiscount: discount },
      seed: 5,
      micro,
      timesteps: Array(batch).fill(0),
      dropoutKeyCount: 0,
    });
    const { inputs } = program.program;
    program.run(Object.fromEntries(Object.entries(feeds).filter(([name]) => inputs.has(name))));
    const { noise } = await program.read("noise");
    // Scaled to 1 over the batch, whatever was drawn.
    const mean = Array.from(noise).reduce((a, b) => a + b, 0) / noise.length;
    const variance = Array.from(noise).reduce((sum, value) => sum + (value - mean) ** 2, 0) / (noise.length - 1);
    ok(Math.abs(variance - 1) < 1e-4, `variance ${variance}`);
    if (micro === 0) firstNoise = noise;
    if (micro === 1) notDeepEqual(noise, firstNoise);

    const sizes = [0, 1, 2, 3, 4, 5].flatMap((level) => {
      const size = feeds[`multires_${level}_size_1`];
      return size ? [{ factor: discount ** (2 * level), height: size[0], width: size[1] }] : [];
    }).filter(({ height }) => height > 0);
    // Variances by hand: white noise gives each frequency 1, a level what its enlarging lets through; all over the mean of all frequencies.
    const total = 1 + sizes.reduce((sum, { factor, height, width }) => {
      const share = (part: number) => enlarging(side, part).flat().reduce((sum, w) => sum + w * w, 0) / side;
      return sum + factor * share(height) * share(width);
    }, 0);
    for (const [k, pattern] of frequencies.entries()) {
      wanted[k] += (1 + sizes.reduce((sum, { factor, height, width }) =>
        sum + factor * energy(pattern, height) * energy(pattern, width), 0)) / total / runs;
      for (let i = 0; i < batch * 4; i++) {
        const picture = Math.floor(i / 4) * side * side * 4 + i % 4;
        let sum = 0;
        for (let row = 0; row < side; row++) {
          for (let column = 0; column < side; column++) {
            sum += pattern[row] * pattern[column] * noise[picture + (row * side + column) * 4];
          }
        }
        found[k] += sum * sum / (batch * 4 * runs);
      }
    }
  }
  // 3200 independent values each: a variance is known to 2.5 parts in a hundred (√(2 / 3200)); four times that is allowed.
  for (const [k, value] of wanted.entries()) {
    ok(Math.abs(found[k] / value - 1) < 0.1, `frequency ${k}: variance ${found[k]}, wanted ${value}`);
  }
  // It is more than white noise where it is coarse, and less where it is fine.
  ok(wanted[0] > 3 && wanted[3] < 1, `${wanted}`);
  device.release(program);
});

Deno.test("ratios are drawn from 2 to below 4 for each micro-batch and each network", () => {
  const cells = { height: 64, width: 64 };
  const second = Array.from(
    { length: 400 },
    (_, step) => drawMultiresSizes(cells, 2, new RandomStream({ seed: 3, stream: 141, step }))[1][0],
  );
  // 64 / r, cut to whole cells: 16 to 32, the last for r = 2 alone.
  ok(second.every((side) => side >= 16 && side <= 32), `${second}`);
  ok(new Set(second).size > 10);
  const feeds = [1, 2].map((number) =>
    batchFeeds({ ...cells, tokenRows: 1, samples: [{ latents: new Float32Array(), ids: [], lossWeight: 1 }] }, {
      number: number as 1 | 2,
      noise: { trainTimesteps: 1, predictionType: "epsilon", alphasCumprod: [0] },
      loss: { multiresNoiseIterations: 3 },
      seed: 3,
      micro: 0,
      timesteps: [0],
      dropoutKeyCount: 0,
    })
  );
  notDeepEqual(feeds[0].multires_1_size_1, feeds[1].multires_1_size_2);
  const keys = feeds.flatMap((each, k) => [0, 1, 2].map((level) => `${each[`multires_${level}_key_${k + 1}`]}`));
  equal(new Set([...keys, `${feeds[0].noise_key_1}`, `${feeds[1].noise_key_2}`]).size, 8);
});
