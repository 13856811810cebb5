/**
 * Data sets without files, for tests.
 *
 * @module
 */
import { datasetSettings, type DatasetSource, type Subset, subsetSettings } from "./subset.ts";
import type { DatasetOptions, SubsetOptions } from "./dataset_options.ts";
import type { ImageSize } from "./resize.ts";

/** A folder of pictures called `000.png`, `001.png` and so on, each with a caption of four tags. */
export function testFolder(
  path: string,
  repeats: number,
  sizes: readonly ImageSize[],
  options: SubsetOptions = {},
): Subset {
  const settings = subsetSettings({ numRepeats: repeats, classTokens: path, ...options }, {}, path);
  const images = sizes.map((size, at) => {
    const name = String(at).padStart(3, "0");
    return { path: `${path}/${name}.png`, caption: `${path} ${name}, a, b, c`, size };
  });
  return { path, kind: "folder", settings, images };
}

/** So many squares. */
export function squares(count: number, side = 64): ImageSize[] {
  return new Array<ImageSize>(count).fill({ width: side, height: side });
}

/** A data set of subsets, at 64 x 128 pixels in batches of four unless told otherwise. */
export function testSource(subsets: readonly Subset[], options: DatasetOptions = {}): DatasetSource {
  return { settings: datasetSettings({ resolution: [64, 128], batchSize: 4, ...options }, "network 1"), subsets };
}
