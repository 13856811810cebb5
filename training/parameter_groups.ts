import type { LoraNetwork, Part } from "../lora/network.ts";

/** Base learning rates of a network; a part without one of its own has the network's. */
export interface PartRates {
  readonly learningRate: number;
  /** (`--text_encoder_lr`) */
  readonly textEncoderLearningRate?: number;
  /** (`--unet_lr`) */
  readonly unetLearningRate?: number;
}

/** The distinct base rates of a network, and which of them each of its tensors has. */
export interface ParameterGroups {
  readonly rates: readonly number[];
  /** For each of `network.tensors`, the place of its rate. */
  readonly groupOf: readonly number[];
}

/** The base learning rate of a network's part. */
export function partRate(part: Part, { learningRate, textEncoderLearningRate, unetLearningRate }: PartRates): number {
  return (part === "text_encoder" ? textEncoderLearningRate : unetLearningRate) ?? learningRate;
}

/** Groups a network's tensors by their base learning rate: their part's, times their block's weight. */
export function parameterGroups(network: LoraNetwork, rates: PartRates): ParameterGroups {
  const found: number[] = [];
  const groupOf = network.modules.flatMap(({ part, rateWeight }) => {
    const rate = partRate(part, rates) * rateWeight;
    if (!found.includes(rate)) found.push(rate);
    const group = found.indexOf(rate);
    return [group, group];
  });
  return { rates: found, groupOf };
}
