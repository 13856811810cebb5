import { existsSync } from "node:fs";
import type { BaseModel } from "../../models/base_model.ts";
import type { PredictionType } from "../../models/noise/schedule.ts";
import { hashFile, hashJson, type StepRun } from "../../pipeline/mod.ts";
import type { LoadedBases, MergedLora } from "../values/bases.ts";
import { contentOf } from "../values/checkpoint_content.ts";
import type { Network, NetworkStartOptions } from "../values/network.ts";
import { hashStarts } from "../values/network_start.ts";
import type { TrainingOptions } from "../values/training_options.ts";
import { LogOutput } from "./logs.ts";
import { SampleOutput } from "./samples.ts";
import { savingEpochs, SavingOutput } from "./saving.ts";
import { compareState, type StateFacts } from "./state_facts.ts";
import { readState, type SavedState, stateHash, suggestingAnother } from "./state_folder.ts";
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

/**
 * The state that a training goes on from (`--resume`), checked against it; null where none is named.
 *
 * @throws {StateError} If it is damaged, or of other networks, another base model, rank, shape or optimizer.
 */
export async function readResumed(
  { resume }: OutputOptions,
  facts: StateFacts,
  totalSteps: number,
  warn: (message: string) => void,
): Promise<SavedState | null> {
  if (resume === undefined) return null;
  const state = await suggestingAnother(resume, () => readState(resume)), { step } = state.content.state;
  compareState(resume, state.facts, facts).forEach(warn);
  if (step >= totalSteps) {
    throw new RangeError(
      `Cannot go on from the state ${resume}: it has done ${step} steps, and this training has ${totalSteps}; ask for ` +
        "more steps or epochs",
    );
  }
  return state;
}

/** What a training step's product depends on beside its options: the files that its networks and itself start from. */
export async function trainingFingerprint(
  { resume, samples }: OutputOptions,
  ...starts: readonly NetworkStartOptions[]
): Promise<string[]> {
  // Which pictures are made decides nothing of the networks, so it is no part of what is returned; hashed, the file is an input in the run's record. The
  // plan says what is wrong where it is missing.
  if (samples && existsSync(samples.prompts)) await hashFile(samples.prompts);
  return [
    ...await hashStarts(...starts),
    ...resume === undefined ? [] : [await suggestingAnother(resume, () => stateHash(resume))],
  ];
}
