import { dropoutKeys } from "../lora/dropout.ts";
import { RandomStream } from "../random/philox.ts";
import type { BatchShape } from "./denoising.ts";
import { huberThreshold, type LossOptions } from "./loss.ts";
import { drawMultiresSizes } from "./multires_noise.ts";

/** One prepared picture with its prompt. */
export interface TrainSample {
  /** `[height, width, 4]`, as the VAE gives them. */
  readonly latents: Float32Array;
  /** `rows` times 77 token ids. */
  readonly ids: ArrayLike<number>;
  /** How much each of the prompt's joined states counts, `[75 · rows + 2]`; all alike when left out. Of a batch all have them, or none. */
  readonly tokenWeights?: ArrayLike<number>;
  /** What the text encoder makes of the ids, `[75 · rows + 2, contextSize]`, where it is known beforehand: the step then runs no text encoder. Of a batch all have it, or none. */
  readonly context?: Float32Array;
  /** 1, or the prior's weight for a regularization picture. */
  readonly lossWeight: number;
}

/** Samples of one size that one network sees in a step. */
export interface TrainBatch {
  readonly height: number;
  readonly width: number;
  readonly tokenRows: number;
  readonly samples: readonly TrainSample[];
}

/** What the schedule of the noise tells a trainer. */
export interface TrainingNoise {
  readonly trainTimesteps: number;
  readonly predictionType: "epsilon" | "v_prediction";
  /** ᾱ for each timestep. */
  readonly alphasCumprod: ArrayLike<number>;
}

/** The sizes that a batch's program is compiled for. */
export function shapeOf({ samples, height, width, tokenRows }: TrainBatch): BatchShape {
  const [{ tokenWeights, context }] = samples;
  return {
    ...{ batch: samples.length, height, width, tokenRows },
    ...(tokenWeights ? { hasTokenWeights: true } : {}),
    ...(context ? { contextSize: context.length / (75 * tokenRows + 2) } : {}),
  };
}

/** Streams of random numbers, so that what one draws does not shift another. */
const streams = {
  timesteps: 101,
  noise: 110,
  offset: 120,
  multiresSizes: 140,
  /** And ten more for each level. */
  multires: 200,
  dropout: 1_000_000,
} as const;

/** Timesteps of one micro-batch, as many as asked for: both networks see the same ones, the larger batch has some of its own. */
export function drawTimesteps(noise: TrainingNoise, seed: number, micro: number, count: number): number[] {
  const draw = new RandomStream({ seed, stream: streams.timesteps, step: micro });
  return Array.from({ length: count }, () => draw.nextInteger(noise.trainTimesteps));
}

/** What decides one network's inputs beside its batch. */
export interface FeedOptions {
  /** 1 or 2: inputs carry it in their names. */
  readonly number: 1 | 2;
  readonly noise: TrainingNoise;
  readonly loss: LossOptions;
  readonly seed: number;
  /** Micro-batches before this one: the noise depends on it alone. */
  readonly micro: number;
  /** `[batch]`, or more: the first count. */
  readonly timesteps: readonly number[];
  /** First of the noise's streams; training's when left out. */
  readonly noiseStream?: number;
  /** See `LoraNetwork.dropoutKeyCount`. */
  readonly dropoutKeyCount: number;
}

/** Inputs of one network in a step or a validation, by name; see `traceStep`. */
export function batchFeeds(
  { samples, height, width }: TrainBatch,
  { number: k, noise, loss, seed, micro, timesteps, noiseStream = streams.noise, dropoutKeyCount }: FeedOptions,
): Record<string, ArrayLike<number>> {
  const cells = height * width * 4, latents = new Float32Array(samples.length * cells);
  samples.forEach((sample, i) => latents.set(sample.latents, i * cells));
  const own = timesteps.slice(0, samples.length), alphas = own.map((t) => noise.alphasCumprod[t]);
  const { minSnrGamma = 0 } = loss;
  // At a signal of 0 the ratio is infinite, and the weight 1.
  const snrWeights = alphas.map((alpha) => minSnrGamma ? Math.min(1, minSnrGamma * (1 - alpha) / alpha) : 1);
  const weights = samples.map((sample) => sample.lossWeight);
  const key = (stream: number) => [seed >>> 0, Math.floor(seed / 2 ** 32), stream + k, micro];
  return {
    [`latents_${k}`]: latents,
    [`noise_key_${k}`]: key(noiseStream),
    [`offset_key_${k}`]: key(streams.offset),
    [`ids_${k}`]: samples.flatMap((sample) => Array.from(sample.ids)),
    ...samples[0].tokenWeights
      ? { [`token_weights_${k}`]: samples.flatMap(({ tokenWeights }) => Array.from(tokenWeights!)) }
      : {},
    ...samples[0].context ? { [`context_${k}`]: joined(samples.map(({ context }) => context!)) } : {},
    [`timesteps_${k}`]: own,
    [`signal_${k}`]: alphas.map(Math.sqrt),
    [`sigma_${k}`]: alphas.map((alpha) => Math.sqrt(1 - alpha)),
    [`loss_weights_${k}`]: weights,
    [`mse_weights_${k}`]: weights.map((weight, i) => weight * snrWeights[i]),
    [`dropout_keys_${k}`]: dropoutKeys(dropoutKeyCount, { seed, firstStream: k * streams.dropout, step: micro }),
    [`huber_${k}`]: own.map((t, i) => huberThreshold(t, alphas[i], { ...loss, trainTimesteps: noise.trainTimesteps })),
    ...multiresFeeds(),
  };

  function multiresFeeds(): Record<string, ArrayLike<number>> {
    const { multiresNoiseIterations: iterations = 0 } = loss;
    const random = new RandomStream({ seed, stream: streams.multiresSizes + k, step: micro });
    const sizes = drawMultiresSizes({ height, width }, iterations, random);
    return Object.fromEntries(sizes.flatMap((size, level) => [
      [`multires_${level}_size_${k}`, size],
      [`multires_${level}_key_${k}`, key(streams.multires + 10 * level)],
    ]));
  }
}

function joined(parts: readonly Float32Array[]): Float32Array {
  const whole = new Float32Array(parts.reduce((total, part) => total + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
