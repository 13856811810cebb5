import type { NetworkStartOptions } from "../../steps/values/network.ts";
import type { FlagValues } from "../flags/table.ts";
import { UsageError } from "../usage_error.ts";
import { changed } from "./changed.ts";
import { argumentOfOption, networkOptions } from "./network_options.ts";
import type { OutputOptions } from "./output_options.ts";
import type { StepCall } from "./step_calls.ts";
import {
  differingOptions,
  orthogonalityOptions,
  ownTrainingOptions,
  sharedTrainingOptions,
} from "./training_options.ts";

/**
 * The steps that train: one network alone, two side by side, or network 2 against one that is there first.
 *
 * @param outputs What the last of them leaves behind while it runs.
 */
export function trainCalls(values: FlagValues, isPair: boolean, outputs: OutputOptions): StepCall[] {
  const shared = sharedTrainingOptions(values);
  if (!isPair) {
    const own = ownTrainingOptions(values, 1);
    return [["pretrainNetwork1", { ...networkOptions(values, 1), ...shared, ...own, ...outputs }]];
  }

  const orthogonality = orthogonalityOptions(values);
  const epochs = changed({ annealEpoch: [values.anneal_epoch, 0], halfAnnealEpoch: [values.half_annel_epoch, 0] });
  const mode = values.semi_freeze_network_1 ? "semi" : values.freeze_network_1 ? "full" : "none";
  if (mode === "none") {
    const network2 = { ...differingNetwork(values), ...differingOptions(values, 2, 1) };
    return [["trainBoth", {
      ...networkOptions(values, 1),
      ...shared,
      ...ownTrainingOptions(values, 1),
      ...(Object.keys(network2).length === 0 ? {} : { network2 }),
      orthogonality,
      ...epochs,
      ...outputs,
    }]];
  }
  // A network that stays as it is has nothing of its own.
  const network1 = mode === "semi" ? differingOptions(values, 1, 2) : {};
  return [
    firstCall(values, shared, outputs),
    ["freezeNetwork1", { mode, ...epochs }],
    ["trainNetwork2", {
      ...networkOptions(values, 2),
      ...shared,
      ...ownTrainingOptions(values, 2),
      ...(Object.keys(network1).length === 0 ? {} : { network1 }),
      orthogonality,
      ...outputs,
    }],
  ];
}

/** Where a network 1 that is to be frozen comes from: a file, the state that is gone on from, or a training of its own. */
function firstCall(
  values: FlagValues,
  shared: ReturnType<typeof sharedTrainingOptions>,
  { resume, ...outputs }: OutputOptions,
): StepCall {
  if (values.network_weights) return ["loadNetwork1", { weights: values.network_weights }];
  if (resume !== undefined) return ["loadNetwork1", { state: resume }];
  const { epochs: _, ...rest } = shared, { pretrain_steps } = values;
  const length = pretrain_steps === null ? shared : { ...rest, steps: pretrain_steps };
  const own = pretrainingOutputs(outputs);
  checkSecondName(values, own);
  return ["pretrainNetwork1", { ...networkOptions(values, 1), ...length, ...ownTrainingOptions(values, 1), ...own }];
}

/** Refuses a name of network 2 under which the pretraining's files and pictures would be overwritten. */
function checkSecondName({ output_name_2: name }: FlagValues, { save, samples }: OutputOptions): void {
  const taken = (save ?? samples)?.names?.network1;
  // File systems may take names that differ in case alone for one.
  if (!name || name.toLowerCase() !== taken?.toLowerCase()) return;
  throw new UsageError(
    `--output_name_2 is ${
      JSON.stringify(name)
    }: network 1's own training, before it is frozen, leaves its files under that name; ` +
      "choose another",
  );
}

/** What the first of two trainings leaves behind: as the second, under names of its own, and no states, from which the second could not go on. */
function pretrainingOutputs({ logs, save, samples }: Omit<OutputOptions, "resume">): OutputOptions {
  const named = (names: { readonly network1?: string } = {}) => {
    return { network1: names.network1 === undefined ? "pretrain" : `${names.network1}_pretrain` };
  };
  const { state: _, lastEpochsState: _e, lastStepsState: _s, ...files } = save ?? { folder: "" };
  const isSaving = [files.everyEpochs, files.everySteps, files.timesPerRun].some((every) => every !== undefined);
  return {
    ...(logs ? { logs: { ...logs, prefix: `${logs.prefix ?? ""}pretrain_` } } : {}),
    ...(isSaving ? { save: { ...files, names: named(files.names) } } : {}),
    ...(samples ? { samples: { ...samples, names: named(samples.names) } } : {}),
  };
}

/** Options that network 2 never has from network 1. */
const notInherited = ["weights", "ranksFromWeights"];

/** What network 2 is built with otherwise than network 1. */
function differingNetwork(values: FlagValues): Partial<NetworkStartOptions> {
  const one: Readonly<Record<string, unknown>> = { ...networkOptions(values, 1) }, two = networkOptions(values, 2);
  const missing = Object.keys(one).find((name) => !notInherited.includes(name) && !Object.hasOwn(two, name));
  if (missing !== undefined) {
    throw new UsageError(
      `--network_args_2 leaves out what network 1 has (${
        argumentOfOption[missing] ?? missing
      }): trained side by side, network 2 has all that network 1 has, with values of its own`,
    );
  }
  return Object.fromEntries(
    Object.entries(two).filter(([name, value]) =>
      notInherited.includes(name) || JSON.stringify(value) !== JSON.stringify(one[name])
    ),
  );
}
