import { describeDataset } from "../../data/describe_dataset.ts";
import { datasetOf, eachNetwork, type TrainingData } from "./training_data.ts";

/** Figures and sentences about the data, for `describe()`. */
export function describeData(found: TrainingData): { figures: Record<string, number>; lines: string[] } {
  const figures: Record<string, number> = {}, lines: string[] = [];
  for (const [number, data] of eachNetwork(found)) {
    const facts = describeDataset(datasetOf(data));
    figures[`batchesPerEpoch${number}`] = facts.batchesPerEpoch;
    const sizes = facts.parts.map(({ buckets, settings: { batchSize } }) => {
      const [{ width, height }] = buckets;
      return `${buckets.length > 1 ? `${buckets.length} sizes` : `${width}×${height} pixels`}, batch ${batchSize}`;
    });
    const heldOut = facts.heldOutImages > 0 ? `, ${facts.heldOutImages} held out for validation` : "";
    lines.push(
      `network ${number}: ${facts.trainImages} pictures shown ${facts.trainSamples} times, ` +
        `${facts.regularizationImages} regularization pictures shown ${facts.regularizationSamples} times${heldOut}, ` +
        sizes.join("; "),
    );
  }
  return { figures, lines };
}
