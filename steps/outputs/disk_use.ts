import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import type { SavePrecision } from "../../formats/lora_file.ts";
import type { LoraNetwork } from "../../lora/network.ts";
import { type DiskUse, InputError } from "../../pipeline/mod.ts";
import type { LoraFileOptions } from "./lora_files.ts";
import { plannedSaves } from "./planned_saves.ts";
import type { PictureGroup } from "./samples.ts";
import type { TrainingOptions } from "../values/training_options.ts";

const bytesOfNumber: Readonly<Record<SavePrecision, number>> = { float: 4, fp16: 2, bf16: 2 };

/** Bytes of a LoRA file beside its numbers: a module's three entries in the header, and all metadata. */
const [moduleBytes, metadataBytes] = [330, 2 ** 14];

/** Bytes of a state beside its numbers. */
const manifestBytes = 2 ** 13;

/** Bytes that a step's figures take as JSON, and with them as curves for TensorBoard. */
const [figuresBytes, logBytes] = [700, 1500];

/** Bytes of a network as a LoRA file. */
export function loraFileBytes(
  { parameterCount, modules }: Pick<LoraNetwork, "parameterCount" | "modules">,
  { precision = "float" }: Pick<LoraFileOptions, "precision">,
): number {
  return parameterCount * bytesOfNumber[precision] + modules.length * moduleBytes + metadataBytes;
}

/**
 * Bytes of what lies in a folder, with all folders inside of it; none where it is not there.
 *
 * @param isMeant Which of the folder's own entries count.
 * @throws {InputError} If it is a file.
 */
export async function existingBytes(folder: string, isMeant: (path: string) => boolean = () => true): Promise<number> {
  let total = 0;
  const entries = await readdir(folder, { withFileTypes: true }).catch((error) => {
    if (error.code === "ENOENT") return [];
    if (error.code !== "ENOTDIR") throw error;
    throw new InputError(`Cannot write into ${folder}: it is a file, must be a folder`, { cause: error });
  });
  for (const entry of entries) {
    const path = join(folder, entry.name);
    if (!isMeant(path)) continue;
    if (entry.isDirectory()) total += await existingBytes(path);
    else if (entry.isFile()) total += (await stat(path)).size;
  }
  return total;
}

/** What is known of a training before it runs. */
export interface PlannedTraining {
  readonly epochs: number;
  readonly stepsPerEpoch: number;
  readonly totalSteps: number;
  readonly networks: readonly {
    readonly number: 1 | 2;
    readonly lora: Pick<LoraNetwork, "parameterCount" | "sizeElements" | "modules">;
    /** Bytes of its optimizer's state. */
    readonly optimizerBytes: number;
    readonly trains: boolean;
  }[];
  /** Pictures of the file of prompts; each is made with each stack. */
  readonly groups?: readonly PictureGroup[];
  /** Stacks of networks that pictures are made with. */
  readonly stacks: number;
}

/** What a training writes while it runs, and at its end into the run's folder. */
export async function trainingDiskUse(options: TrainingOptions, planned: PlannedTraining): Promise<DiskUse[]> {
  const { save, logs, samples, resume, checkpointEvery = 100 } = options, { networks, totalSteps } = planned;
  const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);
  const weights = sum(networks.map(({ lora }) => 4 * lora.sizeElements)), figures = totalSteps * figuresBytes;
  const state = weights + figures + manifestBytes +
    sum(networks.map(({ trains, optimizerBytes }) => trains ? optimizerBytes : 0));
  const uses: DiskUse[] = [{
    what: "checkpoints, from which a run that was stopped goes on, and the trained networks",
    // Two are kept, and the next one is whole before the oldest goes; the first is what a training was given to go on from.
    sizeBytes:
      Math.min(3, Math.max(1, Math.floor(totalSteps / checkpointEvery)) + (resume === undefined ? 0 : 1)) * state +
      weights + figures,
    less: "--network_dim, --checkpoint_every_n_steps",
  }];
  if (save) {
    const saves = plannedSaves(save, planned), { folder } = save;
    const fileBytes = sum(networks.map(({ lora, trains }) => trains ? loraFileBytes(lora, save) : 0));
    // What is there already is given free when it is written anew.
    const files = saves.files.flatMap((of) => networks.flatMap(({ number, trains }) => trains ? [of(number)] : []));
    const existing = (paths: readonly string[]) => {
      const set = new Set(paths);
      return existingBytes(folder, (path) => set.has(path));
    };
    uses.push({
      what: `${saves.mostFiles} saves of LoRA files`,
      folder,
      sizeBytes: Math.max(0, saves.mostFiles * fileBytes - await existing(files)),
      less: "--save_every_n_epochs, --save_every_n_steps, --save_last_n_epochs, --save_last_n_steps, --save_precision",
    }, {
      what: `${saves.mostStates} states`,
      folder,
      sizeBytes: Math.max(0, saves.mostStates * state - await existing(saves.states)),
      less: "--save_state left out, --save_last_n_epochs_state, --save_last_n_steps_state",
    });
  }
  if (samples && planned.groups) {
    const times = samples.everyEpochs === undefined
      ? Math.floor(totalSteps / (samples.everySteps ?? Infinity))
      : Math.floor(planned.epochs / samples.everyEpochs);
    const pixels = sum(planned.groups.map(({ options, prompts }) => prompts.length * options.width * options.height));
    uses.push({
      what: "pictures while training",
      folder: samples.folder,
      sizeBytes: 3 * pixels * times * planned.stacks,
      less: "--sample_every_n_epochs, --sample_every_n_steps",
    });
  }
  if (logs) {
    // Looked at for a file that is in the way.
    for (const folder of [logs.folder, logs.folder2 ?? logs.folder]) await existingBytes(folder, () => false);
    uses.push({ what: "logs", folder: logs.folder, sizeBytes: networks.length * totalSteps * logBytes });
  }
  return uses.filter(({ sizeBytes }) => sizeBytes > 0);
}
