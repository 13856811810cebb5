import type { DatasetOptions, SubsetDefaults, SubsetOptions } from "../data/dataset_options.ts";
import { checkDataset } from "../data/read_dataset.ts";
import { checkOptions, type OptionNames } from "./values/check_options.ts";
import { dataStep } from "./values/data_step.ts";
import { readTrainingData, recordDatasets, type TrainingDataOptions, withoutPaths } from "./values/training_data.ts";

/** Options of `readDatasets`. */
export type ReadDatasetsOptions = TrainingDataOptions;

const optionNames: OptionNames<ReadDatasetsOptions> = {
  network1: true,
  network2: true,
  seed: true,
  validationSplit: true,
  validationSeed: true,
};

const subsetDefaultNames: OptionNames<SubsetDefaults> = {
  numRepeats: true,
  classTokens: true,
  captionExtension: true,
  shuffleCaption: true,
  keepTokens: true,
  captionDropoutRate: true,
  captionDropoutEveryNEpochs: true,
  captionTagDropoutRate: true,
  tokenWarmupMin: true,
  tokenWarmupStep: true,
  flipAug: true,
  colorAug: true,
  randomCrop: true,
  faceCropAugRange: true,
};
const subsetNames: OptionNames<SubsetOptions> = {
  ...subsetDefaultNames,
  imageDir: true,
  metadataFile: true,
  isReg: true,
};
const datasetNames: OptionNames<DatasetOptions> = {
  ...subsetDefaultNames,
  resolution: true,
  batchSize: true,
  enableBucket: true,
  minBucketReso: true,
  maxBucketReso: true,
  bucketResoSteps: true,
  bucketNoUpscale: true,
  priorLossWeight: true,
  trainDataDir: true,
  regDataDir: true,
  subsets: true,
};

/**
 * Reads each network's data sets with all of sd-scripts' settings: folders or metadata, repeats, buckets, captions that
 * change, cuts, colours, regularization pictures.
 *
 * Caption files without a picture, folders without pictures and the like are left out with a warning.
 */
export function readDatasets(options: ReadDatasetsOptions) {
  const name = "read data";
  checkOptions<ReadDatasetsOptions>(name, options, optionNames);
  const { network1, network2, ...rest } = options, { seed = 1, validationSplit = 0, validationSeed = seed } = options;
  for (const [network, datasets] of Object.entries({ network1, ...(network2 ? { network2 } : {}) })) {
    if (!Array.isArray(datasets) || datasets.length === 0) {
      throw new TypeError(`Cannot make step '${name}': ${network} must be a list of data sets, with at least one`);
    }
    for (const [at, dataset] of datasets.entries()) {
      checkOptions<DatasetOptions>(name, dataset, datasetNames, `${network}[${at}]`);
      for (const [n, subset] of (dataset.subsets ?? []).entries()) {
        checkOptions<SubsetOptions>(name, subset, subsetNames, `${network}[${at}].subsets[${n}]`);
      }
      checkDataset(dataset, network.replace("network", "network "));
    }
  }
  return dataStep({
    version: 1,
    options: {
      ...rest,
      network1: network1.map(withoutPaths),
      ...network2 ? { network2: network2.map(withoutPaths) } : {},
    },
    seeds: { seed, ...(validationSplit > 0 ? { validationSeed } : {}) },
    read: () => readTrainingData(options, { captionWithoutImage: "warn" }),
    record: async ({ data }) => ({
      network1: await recordDatasets(network1, data.network1),
      network2: network2 ? await recordDatasets(network2, data.network2!) : null,
    }),
  });
}
