import type { Tokenizer } from "../../models/clip/tokenizer.ts";
import type { BatchShape } from "../../training/denoising.ts";
import type { TrainBatch } from "../../training/feeds.ts";
import { promptLayout, rowsOf } from "./picture_stacks.ts";
import { promptOf } from "./prompts.ts";

/** A picture's latents and the prompt it stands for: what two networks are tried on. */
export interface Probe {
  /** `[height, width, 4]`, as the VAE gives them. */
  readonly latents: Float32Array;
  /** Latent cells: an eighth of the picture. */
  readonly height: number;
  readonly width: number;
  readonly prompt: string;
  /** Whether brackets in the prompt are weights, as in prompts of pictures. */
  readonly hasWeights: boolean;
}

/** What each network is about, as latents with prompts. */
export interface Probes {
  readonly network1: readonly Probe[];
  readonly network2: readonly Probe[];
  /** Where they come from, in words. */
  readonly source: string;
}

/** Sizes in latent cells of each network's probes, one for each. */
export interface PlannedProbes {
  readonly network1: readonly Pick<Probe, "height" | "width">[];
  readonly network2: readonly Pick<Probe, "height" | "width">[];
}

/** A probe as a batch of its own, with its own prompt or a prompt of pictures, whose brackets are weights. */
export function probeBatch(
  { latents, height, width, prompt: own, hasWeights }: Probe,
  tokenizer: Tokenizer,
  prompt?: string,
): TrainBatch {
  const text = prompt ?? own, isCaption = prompt === undefined && !hasWeights;
  const { tokenRows, hasTokenWeights: weightedCaptions = false } = isCaption
    ? { tokenRows: rowsOf(tokenizer.encode(text).length - 2) }
    : promptLayout(tokenizer, [text]);
  const maxTokenLength = ([75, 150, 225] as const)[tokenRows - 1];
  const sample = { latents, lossWeight: 1, ...promptOf(tokenizer, text, { maxTokenLength, weightedCaptions }) };
  return { height, width, tokenRows, samples: [sample] };
}

/** Shapes of the batches that planned probes become, where prompts are no longer than 75 tokens. */
export function plannedShapes(probes: readonly Pick<Probe, "height" | "width">[]): BatchShape[] {
  return probes.map(({ height, width }) => ({ batch: 1, height, width, tokenRows: 1 }));
}
