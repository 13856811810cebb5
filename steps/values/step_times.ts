import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Dataset } from "../../data/dataset.ts";
import { writeFileAtomically } from "../../formats/atomic_file.ts";
import type { BaseModel } from "../../models/base_model.ts";
import { hashJson } from "../../pipeline/mod.ts";
import type { EpochPhase } from "../../training/phases.ts";
import { cacheFolder } from "./cache_folder.ts";
import { microBatchKinds } from "./micro_batch_kinds.ts";
import type { TrainingTask } from "./network_training.ts";
import type { TrainingOptions } from "./training_options.ts";

/** How long an optimizer step took. */
export interface StepTime {
  readonly secondsPerStep: number;
  /** Name of the adapter that it was measured on. */
  readonly adapter: string;
}

/** One network of a training, as far as its steps' time depends on it. */
export interface TimedSide {
  readonly base: BaseModel;
  readonly dataset: Dataset;
  /** Whether the text encoder's outputs are known beforehand. */
  readonly hasTexts: boolean;
}

/** Options that decide what a step computes; its rates, seeds and outputs do not. */
const shaping: readonly (keyof TrainingOptions)[] = [
  ...["accumulationSteps", "maxTokenLength", "weightedCaptions", "gradientCheckpointing", "mixedPrecision"] as const,
  ...[
    "optimizer",
    "optimizerArguments",
    "maxWeightNorm",
    "lossType",
    "noiseOffset",
    "multiresNoiseIterations",
  ] as const,
];

/** Tells trainings apart whose steps take different times: for each phase a text that is the same where the same is computed. */
export function stepTimeKeys(task: TrainingTask, sides: readonly TimedSide[]): (phase: EpochPhase) => string {
  const { networks, options, orthogonality, stack } = task, datasets = sides.map(({ dataset }) => dataset);
  const { kinds } = microBatchKinds(
    datasets,
    options,
    sides.map(({ base, hasTexts }) => hasTexts ? base.textConfig.size : undefined),
  );
  const picked = (given: TrainingOptions) => shaping.map((name) => given[name] ?? null);
  const facts = {
    kinds,
    orthogonality,
    stack,
    networks: networks.map(({ number, start, own }, k) => {
      const { base: { parameterCount, options: base }, dataset } = sides[k];
      // Encoded in every step.
      const isLive = dataset.images.some(({ subset: { settings } }) =>
        settings.colorAug || settings.randomCrop || settings.faceCropAugRange !== null
      );
      return { number, parameterCount, base, built: start.options, isLive, options: picked({ ...options, ...own }) };
    }),
  };
  const text = JSON.stringify(facts);
  return (phase) => hashJson([text, JSON.stringify(phase)]);
}

/** Kinds of steps that are remembered; the oldest go. */
const mostTimes = 500;

const timesFile = () => join(cacheFolder(), "step_times.json");

/** Times that were measured before, by `stepTimeKeys`; none where the file is not there, or no longer what was written. */
async function knownStepTimes(): Promise<Map<string, StepTime>> {
  const text = await readFile(timesFile(), "utf8").catch((error) => {
    if (error.code === "ENOENT") return "[]";
    throw error;
  });
  let list: unknown;
  try {
    list = JSON.parse(text);
  } catch (error) {
    // A guess that is lost is made anew.
    if (!(error instanceof SyntaxError)) throw error;
  }
  return new Map((Array.isArray(list) ? list : []).filter(isEntry));
}

function isEntry(entry: unknown): entry is [string, StepTime] {
  const [key, time] = Array.isArray(entry) ? entry : [];
  return typeof key === "string" && Number.isFinite(time?.secondsPerStep) && typeof time.adapter === "string";
}

/** Keeps a time for later runs; of two runs that write at the same moment one may be lost. */
export async function rememberStepTime(key: string, time: StepTime): Promise<void> {
  const times = await knownStepTimes();
  times.delete(key);
  times.set(key, time);
  await mkdir(cacheFolder(), { recursive: true });
  const text = JSON.stringify([...times].slice(-mostTimes));
  await writeFileAtomically(timesFile(), [new TextEncoder().encode(text)]);
}

/** Time of a whole training. */
export interface EstimatedTime {
  readonly seconds: number;
  /** Adapters that its steps were measured on before. */
  readonly adapters: readonly string[];
}

/** What a training will take, by the times that were measured before; null where some of its steps were not. */
export async function estimatedTime(
  epochs: readonly { readonly key: string; readonly steps: number }[],
): Promise<EstimatedTime | null> {
  const known = await knownStepTimes(), adapters = new Set<string>();
  let seconds = 0;
  for (const { key, steps } of epochs) {
    const time = known.get(key);
    if (!time) return null;
    seconds += steps * time.secondsPerStep;
    adapters.add(time.adapter);
  }
  return { seconds, adapters: [...adapters] };
}
