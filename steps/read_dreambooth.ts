import type { DatasetOptions } from "../data/dataset_options.ts";
import { recordFolder } from "../pipeline/mod.ts";
import { checkOptions, type OptionNames } from "./values/check_options.ts";
import { dataStep } from "./values/data_step.ts";
import { readTrainingData, type TrainingDataOptions } from "./values/training_data.ts";

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
  /** Size in pixels that every picture is scaled and cut to: one number, or width and height. */
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

/** Reads DreamBooth folders: which pictures and captions each network learns from. `readDatasets` has all settings. */
export function readDreambooth(options: ReadDreamboothOptions) {
  const name = "read data";
  checkOptions<ReadDreamboothOptions>(name, options, optionNames);
  const { network1, network2, ...rest } = options;
  for (const [network, folders] of Object.entries({ network1, ...(network2 ? { network2 } : {}) })) {
    checkOptions<DreamboothFolders>(name, folders, { train: true, reg: true }, network);
  }
  const folders = [network1.train, network1.reg, network2?.train, network2?.reg].map((folder) => folder ?? null);
  return dataStep({
    version: 2,
    options: rest,
    seeds: { seed: options.seed ?? 1 },
    read: () => readTrainingData(datasetsOf(options)),
    // Equal folders under other paths are equal data.
    record: () =>
      Promise.all(folders.map((folder) => folder === null ? null : recordFolder(folder, { followLinks: true }))),
  });
}

/** The same as data sets with all their settings. */
function datasetsOf(options: ReadDreamboothOptions): TrainingDataOptions {
  const { network1, network2, seed } = options;
  const dataset = ({ train, reg }: DreamboothFolders, resolution: DatasetOptions["resolution"], batchSize: number) => {
    return [{
      trainDataDir: train,
      ...(reg === undefined ? {} : { regDataDir: reg }),
      resolution,
      batchSize,
      ...(options.captionExtension === undefined ? {} : { captionExtension: options.captionExtension }),
      ...(options.priorLossWeight === undefined ? {} : { priorLossWeight: options.priorLossWeight }),
      ...(options.flipAugmentation === undefined ? {} : { flipAug: options.flipAugmentation }),
    }];
  };
  const { resolution, resolution2 = resolution, batchSize, batchSize2 = batchSize } = options;
  return {
    network1: dataset(network1, resolution, batchSize),
    ...(network2 ? { network2: dataset(network2, resolution2, batchSize2) } : {}),
    ...(seed === undefined ? {} : { seed }),
  };
}
