import { readDreamboothFolders } from "../data/dreambooth_folder.ts";
import { defineStep, type Plan, recordFolder } from "../pipeline/mod.ts";
import { data } from "./things.ts";
import { checkOptions, type OptionNames } from "./values/check_options.ts";
import { datasetOf, type NetworkData, type TrainingData } from "./values/training_data.ts";

/** One network's folders in sd-scripts' layout: `<folder>/10_sks person/*.png` with captions beside the pictures. */
export interface DreamboothFolders {
  /** Folder of folders named `<repeats>_<class>` (`--train_data_dir`). */
  readonly train: string;
  /** The same for regularization pictures (`--reg_data_dir`); `loadPriors` adds them as well. */
  readonly reg?: string;
}

/** Options of `readDreambooth`. */
export interface ReadDreamboothOptions {
  readonly network1: DreamboothFolders;
  readonly network2?: DreamboothFolders;
  /** Size in pixels that every picture is scaled and cut to, a multiple of 64: one number, or width and height. */
  readonly resolution: number | readonly [number, number];
  /** Resolution of network 2's pictures; network 1's when left out. */
  readonly resolution2?: number | readonly [number, number];
  readonly batchSize: number;
  /** Batch size of network 2; network 1's when left out. */
  readonly batchSize2?: number;
  readonly captionExtension?: string;
  /** Weight of the loss of regularization pictures; 1 when left out. */
  readonly priorLossWeight?: number;
  /** Mirror each picture with a probability of one half. */
  readonly flipAugmentation?: boolean;
  /** Seed of the order of pictures; 1 when left out. */
  readonly seed?: number;
}

const optionNames: OptionNames<ReadDreamboothOptions> = {
  network1: true,
  network2: true,
  resolution: true,
  resolution2: true,
  batchSize: true,
  batchSize2: true,
  captionExtension: true,
  priorLossWeight: true,
  flipAugmentation: true,
  seed: true,
};

/** Reads DreamBooth folders: which pictures and captions each network learns from. */
export function readDreambooth(options: ReadDreamboothOptions) {
  const name = "read data";
  checkOptions<ReadDreamboothOptions>(name, options, optionNames);
  const { network1, network2, ...rest } = options;
  for (const [network, folders] of Object.entries({ network1, ...(network2 ? { network2 } : {}) })) {
    checkOptions<DreamboothFolders>(name, folders, { train: true, reg: true }, network);
  }
  const read = () => readTrainingData(options);
  return defineStep({
    name,
    version: 1,
    options: rest,
    gives: { data },
    fingerprint: async () => {
      // Looks at the folders first: what is missing or misplaced gets an error that says so.
      await read();
      const folders = [network1.train, network1.reg, network2?.train, network2?.reg].map((folder) => folder ?? null);
      // Equal folders under other paths are equal data.
      return await Promise.all(
        folders.map((folder) => folder === null ? null : recordFolder(folder, { followLinks: true })),
      );
    },
    plan: async (): Promise<Plan<{ data: TrainingData }>> => {
      const { data, warnings } = await read(), { figures, lines } = describeData(data);
      return { figures, lines: [...lines, ...warnings], gives: { data } };
    },
    run: async (_, run) => {
      const { data, warnings } = await read();
      warnings.forEach(run.warn);
      return { data };
    },
  });
}

/** Figures and sentences about the data, for `describe()`. */
export function describeData(found: TrainingData): { figures: Record<string, number>; lines: string[] } {
  const figures: Record<string, number> = {}, lines: string[] = [];
  for (const [network, each] of Object.entries(found) as [string, NetworkData | null][]) {
    if (!each) continue;
    const facts = datasetOf(each).describe(), number = network.at(-1);
    figures[`batchesPerEpoch${number}`] = datasetOf(each).batchesPerEpoch;
    lines.push(
      `network ${number}: ${facts.trainImages} pictures shown ${facts.trainSamples} times, ${facts.regularizationImages} ` +
        `regularization pictures shown ${facts.regularizationSamples} times, ${facts.width}×${facts.height} pixels, batch ${facts.batchSize}`,
    );
  }
  return { figures, lines };
}

/** What is left out of the folders, as sentences, comes with the data. */
async function readTrainingData(
  options: ReadDreamboothOptions,
): Promise<{ data: TrainingData; warnings: readonly string[] }> {
  const warnings: string[] = [];
  const read = async (folders: DreamboothFolders, number: 1 | 2): Promise<NetworkData> => {
    const resolution = (number === 2 ? options.resolution2 : undefined) ?? options.resolution;
    const [width, height] = typeof resolution === "number" ? [resolution, resolution] : resolution;
    const reading = options.captionExtension === undefined ? {} : { captionExtension: options.captionExtension };
    const readFolders = async (folder: string, what: string) => {
      const found = await readDreamboothFolders(folder, `network ${number} ${what}`, reading);
      warnings.push(...found.warnings.map(({ message }) => message));
      return found.folders;
    };
    const data: NetworkData = {
      train: await readFolders(folders.train, "training"),
      regularization: folders.reg === undefined ? [] : await readFolders(folders.reg, "regularization"),
      options: {
        name: `network ${number}`,
        width,
        height,
        batchSize: (number === 2 ? options.batchSize2 : undefined) ?? options.batchSize,
        seed: options.seed ?? 1,
        stream: number,
        priorLossWeight: options.priorLossWeight ?? 1,
        ...(options.flipAugmentation ? { flipAugmentation: true } : {}),
      },
    };
    datasetOf(data);
    return data;
  };
  const network1 = await read(options.network1, 1);
  const network2 = options.network2 ? await read(options.network2, 2) : null;
  return { data: { network1, network2 }, warnings };
}
