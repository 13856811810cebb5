import { readDataset } from "../data/read_dataset.ts";
import { defineStep, recordFolder, replacing } from "../pipeline/mod.ts";
import { data } from "./things.ts";
import { checkOptions } from "./values/check_options.ts";
import { describeData } from "./values/describe_data.ts";
import { datasetOf, eachNetwork, type NetworkData, type TrainingData } from "./values/training_data.ts";

/** Options of `loadPriors`. */
export interface LoadPriorsOptions {
  /** Folder of folders `<repeats>_<class>` with pictures of the class in general, for network 1. */
  readonly network1?: string;
  /** The same for network 2. */
  readonly network2?: string;
  /** Weight of their loss (`--prior_loss_weight`); when left out, what the data were read with, or 1. */
  readonly weight?: number;
}

/**
 * Adds regularization pictures: images of the class as the base already makes them, so that a network learns its concept and not the class.
 *
 * @see Ruiz et al. 2022 (DreamBooth), https://arxiv.org/abs/2208.12242
 */
export function loadPriors(options: LoadPriorsOptions) {
  const name = "load priors";
  checkOptions<LoadPriorsOptions>(name, options, { network1: true, network2: true, weight: true });
  const { network1, network2, weight } = options;
  const readFolder = async (folder: string, number: 1 | 2, flipAug: boolean) => {
    const options = { regDataDir: folder, ...(weight === undefined ? {} : { priorLossWeight: weight }), flipAug };
    const { source, warnings } = await readDataset(options, { name: `network ${number}` });
    if (source.subsets.length > 0) return { subsets: source.subsets, warnings };
    throw new Error(`Cannot load priors: ${[...warnings, `${folder} has no images`][0]}`);
  };
  const record = async (folder: string | undefined, number: 1 | 2) => {
    if (folder === undefined) return null;
    // Looks at the folder first: what is missing or misplaced gets an error that says so.
    await readFolder(folder, number, false);
    return await recordFolder(folder, { followLinks: true });
  };
  const add = async (before: TrainingData): Promise<{ data: TrainingData; warnings: readonly string[] }> => {
    const warnings: string[] = [];
    const added = async (each: NetworkData, folder: string | undefined, number: 1 | 2): Promise<NetworkData> => {
      if (folder === undefined) return each;
      const [first, ...others] = each.sources;
      // Mirrored if the pictures are to which they are added.
      const read = await readFolder(folder, number, first.subsets.some(({ settings }) => settings.flipAug));
      warnings.push(...read.warnings);
      const settings = weight === undefined ? first.settings : { ...first.settings, priorLossWeight: weight };
      return { ...each, sources: [{ settings, subsets: [...first.subsets, ...read.subsets] }, ...others] };
    };
    if (network2 !== undefined && !before.network2) {
      throw new Error(`Cannot load priors from ${network2}: no data were read for network 2`);
    }
    const data = {
      network1: await added(before.network1, network1, 1),
      network2: before.network2 && await added(before.network2, network2, 2),
    };
    for (const [, each] of eachNetwork(data)) datasetOf(each);
    return { data, warnings };
  };
  return defineStep({
    name,
    version: 2,
    options: { weight: weight ?? null },
    needs: { data },
    gives: { data: replacing(data) },
    fingerprint: () => Promise.all([record(network1, 1), record(network2, 2)]),
    plan: async ({ data }) => {
      const found = await add(data), { figures, lines } = describeData(found.data);
      return { figures, lines: [...lines, ...found.warnings], gives: { data: found.data } };
    },
    run: async ({ data }, run) => {
      const found = await add(data);
      found.warnings.forEach(run.warn);
      return { data: found.data };
    },
  });
}
