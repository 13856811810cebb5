import type { BaseModel } from "../../models/base_model.ts";
import type { PredictionType } from "../../models/noise/schedule.ts";
import { hashFile, hashJson, type StepRun } from "../../pipeline/mod.ts";
import type { LoadedBases, MergedLora } from "../values/bases.ts";
import { contentOf } from "../values/checkpoint_content.ts";
import type { Network } from "../values/network.ts";
import type { TrainingOptions } from "../values/training_options.ts";
import { LogOutput } from "./logs.ts";
import { SampleOutput } from "./samples.ts";
import { savingEpochs, SavingOutput } from "./saving.ts";
import type { StateFacts } from "./state_facts.ts";
import type { TrainingContent, TrainingOutput } from "./training_output.ts";

/** What is asked of a training beside its networks. */
export interface OutputOptions extends Pick<TrainingOptions, "save" | "resume" | "logs" | "samples"> {}

/** What outputs know of the training that they belong to. */
export interface OutputContext {
  readonly epochs: number;
  readonly stepsPerEpoch: number;
  readonly totalSteps: number;
  readonly bases: Readonly<Partial<Record<1 | 2, BaseModel>>>;
  readonly loaded: LoadedBases;
  /** All networks as they are now, by number. */
  networks(content: TrainingContent): readonly (readonly [1 | 2, Network])[];
  /** Those of them that have trained. */
  trained(content: TrainingContent): readonly (readonly [1 | 2, Network])[];
  /** What the training teaches to predict. */
  readonly predictionType: PredictionType;
  readonly facts: StateFacts;
  /** Hash of the state that the training was started from, where it was. */
  readonly from: string | undefined;
  readonly run: StepRun;
}

/** Makes ready what a training leaves behind while it runs. */
export async function openOutputs(
  { save, logs, samples, seed = 1 }: OutputOptions & Pick<TrainingOptions, "seed">,
  context: OutputContext,
): Promise<TrainingOutput[]> {
  const outputs: TrainingOutput[] = [];
  if (save) outputs.push(await SavingOutput.open(save, context));
  if (logs) {
    const numbers = context.facts.networks.map(({ number }) => number);
    outputs.push(await LogOutput.open(logs, { ...context, numbers }));
  }
  if (samples) outputs.push(await SampleOutput.open(samples, { ...context, bases: context.loaded, seed }));
  return outputs;
}

/** What a training leaves behind, in sentences for `describe()`. */
export function outputLines(
  { save, samples, logs, resume }: OutputOptions,
  { epochs, totalSteps }: { readonly epochs: number; readonly totalSteps: number },
): string[] {
  const time = (every: number | null | undefined, unit: string, last: number) => {
    if (!every) return [];
    const text = every === 1 ? `every ${unit}` : `every ${every} ${unit}s`;
    return [every > last ? `${text} (not reached before the end of this run)` : text];
  };
  const often = (
    everyEpochs: number | null | undefined,
    everySteps: number | undefined,
    lastEpoch: number,
  ) => [...time(everyEpochs, "epoch", lastEpoch), ...time(everySteps, "step", totalSteps)].join(" and ");
  const lines: string[] = [];
  if (resume !== undefined) lines.push(`goes on from the state ${resume}`);
  if (save) {
    const when = often(savingEpochs(save, epochs), save.everySteps, epochs - 1);
    const what = [...when === "" ? [] : [`after ${when}`], ...save.state ? ["with states, and one at the end"] : []];
    if (what.length) lines.push(`saves into ${save.folder} ${what.join(", ")}`);
  }
  if (samples) {
    const { everyEpochs, everySteps, prompts, folder } = samples;
    const when = often(everyEpochs, everyEpochs === undefined ? everySteps : undefined, epochs);
    if (when !== "") lines.push(`makes pictures of ${prompts} after ${when}, in ${folder}/sample`);
  }
  if (logs) lines.push(`logs into ${logs.folder}`);
  return lines;
}

/** Settings that do not change what is trained: where files go, and how often. */
const outputNames = ["save", "resume", "logs", "samples", "checkpointEvery", "maxSkippedInRow"] as const;

/** A training's options without those that are about its outputs. */
export function withoutOutputs<Options extends OutputOptions>(
  options: Options,
): Omit<Options, typeof outputNames[number]> {
  const names: readonly string[] = outputNames;
  return Object.fromEntries(Object.entries(options).filter(([name]) => !names.includes(name))) as never;
}

/** Hash of a base model's content and of what was merged into it, by which a state knows it again. */
export async function baseHash({ checkpoint }: BaseModel, merged: readonly MergedLora[] = []): Promise<string> {
  const loras: unknown[] = [];
  for (const { weights, multiplier = 1 } of merged) loras.push([await hashFile(weights), multiplier]);
  return hashJson([await contentOf(checkpoint), loras]);
}
