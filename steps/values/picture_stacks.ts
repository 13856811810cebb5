import { latentCells } from "../../data/resize.ts";
import type { LoraNetwork } from "../../lora/network.ts";
import type { BaseModel } from "../../models/base_model.ts";
import type { Tokenizer } from "../../models/clip/tokenizer.ts";
import { resolveSamplerName } from "../../models/noise/sampler.ts";
import type { SamplingOptions } from "../../models/sampling.ts";
import { buildNetwork, type PlannedNetwork } from "./network.ts";
import type { PictureOptions } from "./picture_sampler.ts";

/** A network that acts while pictures are sampled, before or after it is trained. */
export interface PlannedStackedNetwork {
  readonly network: PlannedNetwork;
  /** Its strength; 1 when left out. */
  readonly multiplier?: number;
}

/**
 * What samplers of several stacks of networks have in common, without a device: networks of equal options at equal places of their stacks take turns
 * with one set of weights.
 */
export class PictureStacks {
  private readonly networks = new Map<string, LoraNetwork>();

  constructor(private readonly base: BaseModel, private readonly options: PictureOptions) {}

  /** The LoRA networks that a stack's weights are put into. */
  networksOf(stack: readonly PlannedStackedNetwork[]): LoraNetwork[] {
    return stack.map(({ network: { options } }, place) => {
      const key = JSON.stringify([place, options]);
      const found = this.networks.get(key) ?? buildNetwork(`sampled network ${place + 1}`, this.base, options);
      this.networks.set(key, found);
      return found;
    });
  }

  /** All networks so far. */
  get all(): LoraNetwork[] {
    return [...this.networks.values()];
  }

  /** How a stack is sampled. */
  sampling(stack: readonly PlannedStackedNetwork[], batch: number, tokenRows: number): SamplingOptions {
    const { sampler = "ddim", steps = 30, guidance = 7.5, predictionType, width, height } = this.options;
    return {
      sampler: resolveSamplerName(sampler),
      steps,
      guidance,
      ...predictionType === undefined ? {} : { predictionType },
      width: latentCells(width),
      height: latentCells(height),
      batch,
      tokenRows,
      adapters: this.networksOf(stack).map((lora, place) => {
        const { multiplier = 1 } = stack[place];
        return {
          textEncoder: lora.adapters("text_encoder", { multiplier }),
          unet: lora.adapters("unet", { multiplier }),
        };
      }),
    };
  }
}

/** Rows of 75 tokens that prompts take which are encoded together: the longest one's, three at most. */
export function promptRows(tokenizer: Tokenizer, prompts: readonly string[]): 1 | 2 | 3 {
  const tokens = Math.max(...prompts.map((prompt) => tokenizer.encode(prompt).length - 2));
  return Math.min(3, Math.max(1, Math.ceil(tokens / 75))) as 1 | 2 | 3;
}

/** Tells stacks apart that need programs of their own. */
export function stackKey(stack: readonly PlannedStackedNetwork[], batch: number, tokenRows: number): string {
  return JSON.stringify([batch, tokenRows, stack.map(({ network, multiplier = 1 }) => [network.options, multiplier])]);
}
