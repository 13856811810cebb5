import { latentCells } from "../../data/resize.ts";
import type { LoraNetwork } from "../../lora/network.ts";
import type { BaseModel } from "../../models/base_model.ts";
import type { Tokenizer } from "../../models/clip/tokenizer.ts";
import { weightedTokens } from "../../models/clip/weighted_prompt.ts";
import { resolveSamplerName } from "../../models/noise/sampler.ts";
import type { PromptLayout, SamplingOptions } from "../../models/sampling.ts";
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
  sampling(stack: readonly PlannedStackedNetwork[], batch: number, layout: PromptLayout): SamplingOptions {
    const { sampler = "ddim", steps = 30, guidance = 7.5, predictionType, width, height } = this.options;
    return {
      sampler: resolveSamplerName(sampler),
      steps,
      guidance,
      ...predictionType === undefined ? {} : { predictionType },
      width: latentCells(width),
      height: latentCells(height),
      batch,
      ...this.base.options.f16Arithmetic ? { activations: "f16" } : {},
      ...layout,
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

/** What prompts of pictures that are encoded together need: rows of 75 tokens for the longest one, three at most, and weights if one has such. */
export function promptLayout(
  tokenizer: Tokenizer,
  prompts: readonly string[],
): PromptLayout & { readonly tokenRows: 1 | 2 | 3 } {
  const read = prompts.map((prompt) => weightedTokens(tokenizer, prompt));
  const longest = Math.max(...read.map(({ ids }) => ids.length));
  return {
    tokenRows: rowsOf(longest),
    ...read.some(({ weights }) => weights.some((weight) => weight !== 1)) ? { hasTokenWeights: true } : {},
  };
}

/** Rows of 75 tokens that a prompt takes, three at most. */
export function rowsOf(tokens: number): 1 | 2 | 3 {
  return Math.min(3, Math.max(1, Math.ceil(tokens / 75))) as 1 | 2 | 3;
}

/** Tells stacks apart that need programs of their own. */
export function stackKey(stack: readonly PlannedStackedNetwork[], batch: number, layout: PromptLayout): string {
  return JSON.stringify([batch, layout, stack.map(({ network, multiplier = 1 }) => [network.options, multiplier])]);
}
