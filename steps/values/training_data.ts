import { Dataset, type DatasetOptions } from "../../data/dataset.ts";
import type { DreamboothFolder } from "../../data/dreambooth_folder.ts";

/** One network's folders, and how its batches are made of them. */
export interface NetworkData {
  readonly train: readonly DreamboothFolder[];
  readonly regularization: readonly DreamboothFolder[];
  readonly options: DatasetOptions;
}

/** The data of both networks, or of network 1 alone. */
export interface TrainingData {
  readonly network1: NetworkData;
  readonly network2: NetworkData | null;
}

/** The data set of one network. */
export function datasetOf({ train, regularization, options }: NetworkData): Dataset {
  return new Dataset(train, regularization, options);
}
