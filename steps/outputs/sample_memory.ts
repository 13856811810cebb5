import type { Program } from "../../engine/mod.ts";
import type { PredictionType } from "../../models/noise/schedule.ts";
import { type OpenedBases, openTokenizer } from "../values/bases.ts";
import type { PlannedNetwork } from "../values/network.ts";
import { type PlannedPictures, planPictures } from "../values/picture_memory.ts";
import { promptLayout } from "../values/picture_stacks.ts";
import { type PictureGroup, planSamples, type TrainingSampleOptions } from "./samples.ts";

/** Pictures while training, as they are planned. */
export interface PlannedSamples {
  readonly groups: readonly PictureGroup[];
  readonly programs: readonly Program[];
  /** What they take on the device beside the training. */
  readonly peakBytes: number;
}

/**
 * Plans what pictures that a training makes take on the device beside it: those of one size and sampler at a time, one by
 * one, the programs of all stacks together.
 *
 * @param predictionType What the training teaches.
 * @param stacks Networks that act together, and whose base they act on: one base after another.
 * @throws {PromptFileError} If the prompts cannot be used.
 */
export async function planSampleMemory(
  bases: OpenedBases,
  options: TrainingSampleOptions,
  predictionType: PredictionType,
  stacks: readonly { readonly base: 1 | 2; readonly networks: readonly PlannedNetwork[] }[],
): Promise<PlannedSamples> {
  const { groups } = await planSamples(options), { network1, network2 } = bases, planned: PlannedPictures[] = [];
  for (const [base, own] of Map.groupBy(stacks, ({ base }) => bases[`network${base}`])) {
    const tokenizer = await openTokenizer(base), others = base === network1 ? network2 : network1;
    const named = own.map(({ networks }) => networks.map((network) => ({ network })));
    for (const { options, prompts } of groups) {
      const { negativePrompt = "" } = options;
      const layouts = prompts.map(({ prompt }) => promptLayout(tokenizer, [negativePrompt, prompt]));
      const batches = named.flatMap((stack) => layouts.map((layout) => ({ stack, layout })));
      const pictures = { ...options, predictionType };
      planned.push(planPictures({ network1: base, network2: others }, pictures, batches, 1));
    }
  }
  return {
    groups,
    programs: planned.flatMap(({ programs }) => programs),
    peakBytes: Math.max(...planned.map(({ ownBytes }) => ownBytes)),
  };
}
