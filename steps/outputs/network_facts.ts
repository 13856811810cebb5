import { basename } from "node:path";
import type { Dataset } from "../../data/dataset.ts";
import { describeDataset, type PartDescription, tagFrequency } from "../../data/describe_dataset.ts";
import type { DatasetSource, Subset } from "../../data/subset.ts";
import type {
  CaptionFacts,
  DatasetFacts,
  ModelFacts,
  NetworkFacts,
  SubsetFacts,
  TrainingFacts,
} from "../../formats/kohya_metadata.ts";
import { isThere } from "../../formats/plain_file.ts";
import { PythonFloat, pythonStr, PythonTuple, type PythonValue } from "../../formats/python_text.ts";
import type { Checkpoint } from "../../models/checkpoint/checkpoint.ts";
import { ArgumentReader } from "../../training/optimizers/arguments.ts";
import { optimizerByName } from "../../training/optimizers/optimizers.ts";
import type { NetworkOptions } from "../values/network.ts";
import type { OwnTrainingOptions } from "../values/training_options.ts";
import { kohyaModelHashes } from "../values/file_hashes.ts";

/** What sd-scripts' metadata say of a network's data. */
export function dataFacts(
  dataset: Dataset,
): { datasets: DatasetFacts[]; captions: CaptionFacts; hasDatasetConfig: boolean; priorLossWeight: number } {
  const described = describeDataset(dataset).parts;
  const datasets = dataset.parts.map(({ source, images }, at) => {
    const train = images.filter(({ subset }) => !subset.settings.isReg);
    return datasetFacts(source, described[at], train.reduce((sum, { repeats }) => sum + repeats, 0));
  });
  const subsets = dataset.parts.flatMap(({ source }) => source.subsets);
  const { settings } = subsets.find(({ settings }) => !settings.isReg) ?? subsets[0];
  return {
    datasets,
    captions: {
      dropoutRate: settings.captionDropoutRate,
      dropoutEveryNEpochs: settings.captionDropoutEveryNEpochs,
      tagDropoutRate: settings.captionTagDropoutRate,
      faceCropRange: settings.faceCropAugRange,
    },
    hasDatasetConfig: datasets.length > 1 || !areAlike(datasets[0].subsets),
    priorLossWeight: dataset.parts[0].source.settings.priorLossWeight,
  };
}

/** Whether one set of values tells how all folders are shown; else they are told one by one. */
function areAlike(subsets: readonly SubsetFacts[]): boolean {
  const shown = ({ colorAug, flipAug, randomCrop, shuffleCaption, keepTokens }: SubsetFacts) =>
    JSON.stringify([colorAug, flipAug, randomCrop, shuffleCaption, keepTokens]);
  return new Set(subsets.map(shown)).size === 1;
}

function datasetFacts({ settings, subsets }: DatasetSource, part: PartDescription, trainImages: number): DatasetFacts {
  const { resolution, batchSize, bucketNoUpscale, minBucketReso, maxBucketReso } = settings;
  return {
    batchSize,
    trainImages,
    regImages: subsets.filter((subset) => subset.settings.isReg)
      .reduce((sum, { images, settings: { numRepeats } }) => sum + images.length * numRepeats, 0),
    resolution: resolution && [resolution.width, resolution.height],
    buckets: part.isBucketed
      ? {
        noUpscale: bucketNoUpscale,
        limits: [minBucketReso, maxBucketReso],
        sizes: part.buckets.map(({ width, height, samples }) => ({ width, height, count: samples })),
        meanAspectError: part.meanAspectError,
      }
      : null,
    subsets: subsets.map(subsetFacts),
  };
}

function subsetFacts({ path, images, settings }: Subset): SubsetFacts {
  const { numRepeats, isReg, classTokens, colorAug, flipAug, randomCrop, shuffleCaption, keepTokens } = settings;
  const counted = images.flatMap(({ countedTags }) => countedTags === undefined ? [] : [countedTags]);
  return {
    name: basename(path),
    images: images.length,
    repeats: numRepeats,
    tags: tagFrequency(counted),
    ...{ isReg, classTokens, colorAug, flipAug, randomCrop, shuffleCaption, keepTokens },
  };
}

/** What sd-scripts' metadata say of how a network is built; `--network_args` under their own names. */
export function networkFacts(options: NetworkOptions): NetworkFacts {
  const { rank, alpha, blocks = {} } = options;
  const given = {
    conv_dim: options.convRank,
    conv_alpha: options.convAlpha,
    dropout: options.dropout,
    rank_dropout: options.rankDropout,
    module_dropout: options.moduleDropout,
    down_lr_weight: blocks.downWeights,
    mid_lr_weight: blocks.midWeight,
    up_lr_weight: blocks.upWeights,
    block_lr_zero_threshold: blocks.zeroThreshold,
    block_dims: blocks.ranks,
    block_alphas: blocks.alphas,
    conv_block_dims: blocks.convRanks,
    conv_block_alphas: blocks.convAlphas,
  };
  const words = Object.entries(given).flatMap(([name, value]) =>
    value === undefined ? [] : [[name, `${value}`] as const]
  );
  return {
    rank,
    alpha: alpha === undefined ? rank : new PythonFloat(alpha),
    arguments: words.length ? new Map(words) : null,
  };
}

/** A base model by its file's name and hashes; of one on the hub, its name alone. */
export async function baseFacts({ name }: Checkpoint): Promise<ModelFacts> {
  return await modelFacts(name);
}

/** The VAE that took the place of a checkpoint's own; null where it has its own. */
export async function vaeFacts({ name, vae }: Checkpoint): Promise<ModelFacts | null> {
  // A part of a folder lies inside, one of a file has the file's name.
  if (vae === null || vae.name === name || vae.name.startsWith(`${name}/`)) return null;
  return await modelFacts(vae.name);
}

async function modelFacts(path: string): Promise<ModelFacts> {
  if (!await isThere(path)) return { name: path, legacy: null, sha256: null };
  return { name: basename(path), ...await kohyaModelHashes(path) };
}

/** Python's names of optimizers, as sd-scripts loads them; small letters here. */
const classes: Readonly<Record<string, string>> = {
  adamw: "torch.optim.adamw.AdamW",
  adamw8bit: "bitsandbytes.optim.adamw.AdamW8bit",
  pagedadamw8bit: "bitsandbytes.optim.adamw.PagedAdamW8bit",
  lion: "lion_pytorch.lion_pytorch.Lion",
  sgdnesterov: "torch.optim.sgd.SGD",
  dadaptation: "dadaptation.experimental.dadapt_adam_preprint.DAdaptAdamPreprint",
  dadaptadampreprint: "dadaptation.experimental.dadapt_adam_preprint.DAdaptAdamPreprint",
  dadaptadagrad: "dadaptation.dadapt_adagrad.DAdaptAdaGrad",
  dadaptadam: "dadaptation.dadapt_adam.DAdaptAdam",
  dadaptadan: "dadaptation.dadapt_adan.DAdaptAdan",
  dadaptadanip: "dadaptation.experimental.dadapt_adan_ip.DAdaptAdanIP",
  dadaptlion: "dadaptation.dadapt_lion.DAdaptLion",
  dadaptsgd: "dadaptation.dadapt_sgd.DAdaptSGD",
  adafactor: "transformers.optimization.Adafactor",
  prodigy: "prodigyopt.prodigy.Prodigy",
};

/** A network's rates and schedule as sd-scripts' metadata have them; null is Python's None. */
export type RateFacts = Pick<
  TrainingFacts,
  "learningRate" | "textEncoderLearningRate" | "unetLearningRate" | "schedule"
>;

/** Rates and schedule; of an optimizer that finds its rates itself, AdaFactor with relative steps, only the one that it was given, in the schedule's name. */
export function rateFacts(options: OwnTrainingOptions): RateFacts {
  const { learningRate = 1e-4, textEncoderLearningRate = null, unetLearningRate = null, schedule = "constant" } =
    options;
  const { optimizer = "AdamW", optimizerArguments = {} } = options, { name, ownRates } = optimizerByName(optimizer);
  if (!ownRates?.(new ArgumentReader(name, optimizerArguments))) {
    return { learningRate, textEncoderLearningRate, unetLearningRate, schedule };
  }
  const given = pythonStr(new PythonFloat(learningRate));
  return {
    learningRate: null,
    textEncoderLearningRate: null,
    unetLearningRate: null,
    schedule: `adafactor:${given}`,
  };
}

/** Arguments that sd-scripts gives where the user gave none. */
const usualArguments: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  sgdnesterov: { momentum: 0.9 },
  adafactor: { relative_step: true },
};

/** An optimizer as `ss_optimizer` has it: Python's class, and its arguments in brackets. */
export function optimizerText(name: string, given: Readonly<Record<string, unknown>> = {}): string {
  const key = name.toLowerCase();
  const usual = Object.entries(usualArguments[key] ?? {}).filter(([each]) => !Object.hasOwn(given, each));
  const all: Record<string, unknown> = { ...given, ...Object.fromEntries(usual) };
  // sd-scripts turns it on wherever this asks for it.
  if (key === "adafactor" && all.warmup_init === true) all.relative_step = true;
  const words = Object.entries(all).map(([name, value]) => `${name}=${pythonStr(asPython(value))}`);
  return `${classes[key] ?? name}${words.length ? `(${words.join(",")})` : ""}`;
}

function asPython(value: unknown): PythonValue {
  return Array.isArray(value) ? new PythonTuple(...value.map(asPython)) : value as PythonValue;
}
