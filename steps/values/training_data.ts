import { flippedLatentFile } from "../../data/latent_file.ts";
import { Dataset, type DatasetContext } from "../../data/dataset.ts";
import type { DatasetOptions, SubsetOptions } from "../../data/dataset_options.ts";
import { readDataset, type ReadDatasetOptions } from "../../data/read_dataset.ts";
import type { DatasetSource } from "../../data/subset.ts";
import { hashFile, recordFolder } from "../../pipeline/mod.ts";

/** What one network learns from: its data sets with their pictures, and how they are shuffled. */
export interface NetworkData {
  readonly sources: readonly DatasetSource[];
  readonly context: DatasetContext;
}

/** The data of both networks, or of network 1 alone. */
export interface TrainingData {
  readonly network1: NetworkData;
  readonly network2: NetworkData | null;
}

/** What to read for both networks. */
export interface TrainingDataOptions {
  /** Data sets of network 1 (`--dataset_config`, or `--train_data_dir` and the flags beside it). */
  readonly network1: readonly DatasetOptions[];
  /** Data sets of network 2; none when network 1 trains alone. */
  readonly network2?: readonly DatasetOptions[];
  /** Seed of order, captions, cuts and colours (`--seed`); 1 when left out. */
  readonly seed?: number;
  /** Share of the training pictures, 0…1, held out for the validation loss (`--validation_split`); 0 when left out. */
  readonly validationSplit?: number;
  /** Chooses the held-out pictures (`--validation_seed`); `seed` when left out. */
  readonly validationSeed?: number;
}

/** The data set of one network. */
export function datasetOf({ sources, context }: NetworkData): Dataset {
  return new Dataset(sources, context);
}

/** Both networks' data with their numbers, those that are there. */
export function eachNetwork({ network1, network2 }: TrainingData): [1 | 2, NetworkData][] {
  return network2 ? [[1, network1], [2, network2]] : [[1, network1]];
}

/** Reads both networks' data; what is left out comes as sentences. */
export async function readTrainingData(
  options: TrainingDataOptions,
  reading: Omit<ReadDatasetOptions, "name"> = {},
): Promise<{ data: TrainingData; warnings: readonly string[] }> {
  const { seed = 1, validationSplit, validationSeed } = options, warnings: string[] = [];
  const read = async (datasets: readonly DatasetOptions[], stream: 1 | 2): Promise<NetworkData> => {
    const name = `network ${stream}`, sources: DatasetSource[] = [];
    for (const dataset of datasets) {
      const found = await readDataset(dataset, { ...reading, name });
      sources.push(found.source);
      warnings.push(...found.warnings);
    }
    const held = {
      ...(validationSplit === undefined ? {} : { validationSplit }),
      ...(validationSeed === undefined ? {} : { validationSeed }),
    };
    const data = { sources, context: { name, seed, stream, ...held } };
    // Finds what only all of it shows: sizes that cannot be trained at, no picture at all.
    datasetOf(data);
    return data;
  };
  const network1 = await read(options.network1, 1);
  return { data: { network1, network2: options.network2 ? await read(options.network2, 2) : null }, warnings };
}

/** A data set's options without its paths: equal folders under other paths are equal data. */
export function withoutPaths(dataset: DatasetOptions) {
  const { trainDataDir: _train, regDataDir: _reg, subsets = [], ...rest } = dataset;
  const own = subsets.map(({ imageDir: _image, metadataFile: _file, ...subset }) => subset);
  return { ...rest, ...own.length === 0 ? {} : { subsets: own } };
}

/** Hashes of all files that a network's data sets name, in their order. */
export async function recordDatasets(datasets: readonly DatasetOptions[], data: NetworkData) {
  const records: unknown[] = [];
  const folder = async (path: string | undefined) => {
    records.push(path === undefined ? null : await recordFolder(path, { followLinks: true }));
  };
  for (const [at, { trainDataDir, regDataDir, subsets = [] }] of datasets.entries()) {
    await folder(trainDataDir);
    await folder(regDataDir);
    for (const { imageDir, metadataFile } of subsets as SubsetOptions[]) {
      if (metadataFile === undefined) await folder(imageDir);
    }
    // Metadata may name pictures anywhere: each of them counts.
    for (const { kind, path, images } of data.sources[at].subsets) {
      if (kind === "folder") continue;
      records.push(await hashFile(path));
      for (const { path, isLatents } of images) {
        records.push(await hashFile(path));
        if (isLatents) records.push(await hashIfThere(flippedLatentFile(path)));
      }
    }
  }
  return records;
}

function hashIfThere(path: string): Promise<unknown> {
  return hashFile(path).catch((error) => {
    if (error.code !== "ENOENT") throw error;
    return null;
  });
}
