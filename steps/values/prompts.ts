import type { Tokenizer } from "../../models/clip/tokenizer.ts";
import { weightedChunks } from "../../models/clip/weighted_prompt.ts";
import type { TrainSample } from "../../training/feeds.ts";
import type { TrainingOptions } from "./training_options.ts";

/** How captions become ids. */
export type PromptOptions = Pick<TrainingOptions, "maxTokenLength" | "weightedCaptions">;

/** A caption's ids, and its tokens' weights where captions have such. */
export function promptOf(
  tokenizer: Tokenizer,
  caption: string,
  { maxTokenLength = 75, weightedCaptions = false }: PromptOptions,
): Pick<TrainSample, "ids" | "tokenWeights"> {
  if (!weightedCaptions) return { ids: tokenizer.chunks(caption, maxTokenLength).flat() };
  const { rows, weights } = weightedChunks(tokenizer, caption, maxTokenLength);
  return { ids: rows.flat(), tokenWeights: weights };
}
