import type { Program } from "../../engine/mod.ts";
import { type OpenedBases, openTokenizer } from "../values/bases.ts";
import type { PlannedNetwork } from "../values/network.ts";
import { planPictures } from "../values/picture_memory.ts";
import { promptRows } from "../values/picture_stacks.ts";
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
 * @param stacks Networks that act together.
 * @throws {PromptFileError} If the prompts cannot be used.
 */
export async function planSampleMemory(
  bases: OpenedBases,
  options: TrainingSampleOptions,
  stacks: readonly (readonly PlannedNetwork[])[],
): Promise<PlannedSamples> {
  const { groups } = await planSamples(options), tokenizer = await openTokenizer(bases.network1);
  const named = stacks.map((stack) => stack.map((network) => ({ network })));
  const planned = groups.map(({ options, prompts }) => {
    const { negativePrompt = "" } = options;
    const rows = new Set(prompts.map(({ prompt }) => promptRows(tokenizer, [negativePrompt, prompt])));
    return planPictures(bases, options, named, 1, [...rows]);
  });
  return {
    groups,
    programs: planned.flatMap(({ programs }) => programs),
    peakBytes: Math.max(...planned.map(({ ownBytes }) => ownBytes)),
  };
}
