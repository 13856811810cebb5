import { add, type Device, mean, square, subtract, type Tensor } from "../engine/mod.ts";
import type { LoraNetwork } from "../lora/network.ts";
import { stacked } from "../models/source.ts";
import { batchFigures, type BatchFiguresRequest } from "./batch_figures.ts";
import { type BatchShape, traceNoisyBatch, tracePrediction, type TrainableBase } from "./denoising.ts";
import type { TrainBatch, TrainingNoise } from "./feeds.ts";
import { type PackedFigures, packFigures } from "./packed_figures.ts";

/** How far two networks' changes of a prediction are from adding up in the stack; means over samples, cells and channels. */
export interface Additivity {
  /** `E‖ε₁₂ − ε₁ − ε₂ + ε₀‖² / (E‖ε₁ − ε₀‖² + E‖ε₂ − ε₀‖²)`: 0 where the changes add up. */
  readonly error: number;
  /** E(ε₁₂ − ε₁ − ε₂ + ε₀)² */
  readonly interaction: number;
  /** E(ε₁ − ε₀)² */
  readonly change1: number;
  /** E(ε₂ − ε₀)² */
  readonly change2: number;
  /** Predictions that were compared. */
  readonly samples: number;
}

/** What is measured on what. */
export interface AdditivityRequest extends Pick<BatchFiguresRequest, "onBatch" | "signal"> {
  readonly base: TrainableBase;
  readonly network1: LoraNetwork;
  readonly network2: LoraNetwork;
  readonly noise: TrainingNoise;
  /** Latents with prompts, each tried at `spreadTimesteps`. */
  readonly batches: readonly TrainBatch[];
  /** Of the noise. */
  readonly seed: number;
}

/** Streams of noise that neither training nor validation draws from. */
const noiseStream = 140;

/** The plan of one batch's sums: the means of squares of each sample, `[batch]`. */
export function traceAdditivity(
  { base, network1, network2 }: Pick<AdditivityRequest, "base" | "network1" | "network2">,
  shape: BatchShape,
): PackedFigures {
  const request = { number: 1 as const, base, shape, loss: {}, noise: "drawn" as const, vParameterization: false };
  const batch = traceNoisyBatch(request);
  const predicted = (...networks: LoraNetwork[]) =>
    tracePrediction({ ...request, adapters: (part) => stacked(networks.map((lora) => lora.adapters(part))) }, batch);
  const none = predicted(), one = predicted(network1), two = predicted(network2), both = predicted(network1, network2);
  const size = (x: Tensor) => mean(square(x), [1, 2, 3]);
  return packFigures({
    interaction: size(subtract(add(both, none), add(one, two))),
    change1: size(subtract(one, none)),
    change2: size(subtract(two, none)),
  });
}

/**
 * Measures the additivity error of a stack, forward alone; the networks' weights are on the device.
 *
 * @throws {RangeError} If there are no batches, or neither network changes a prediction.
 * @throws The signal's reason.
 */
export async function measureAdditivity(device: Device, request: AdditivityRequest): Promise<Additivity> {
  const sums = { interaction: 0, change1: 0, change2: 0 };
  let samples = 0;
  const trace = ([shape]: readonly BatchShape[]) => traceAdditivity(request, shape);
  const batches = request.batches.map((batch) => [batch]);
  for (const row of (await batchFigures(device, batches, { ...request, trace, noiseStream })).flat()) {
    const found = row as Record<keyof typeof sums, number[]>;
    for (const name of ["interaction", "change1", "change2"] as const) {
      sums[name] = found[name].reduce((sum, value) => sum + value, sums[name]);
    }
    samples += found.interaction.length;
  }
  const changes = sums.change1 + sums.change2;
  if (samples === 0) throw new RangeError("Cannot measure additivity: there are no latents to predict from");
  if (changes === 0) {
    throw new RangeError("Cannot measure additivity: neither network changes a prediction; were they trained?");
  }
  const [interaction, change1, change2] = [sums.interaction, sums.change1, sums.change2].map((sum) => sum / samples);
  return { error: sums.interaction / changes, interaction, change1, change2, samples };
}
