import type { Dataset } from "../../data/dataset.ts";
import { latentCells } from "../../data/resize.ts";
import type { BatchShape } from "../../training/denoising.ts";
import type { MicroBatchKind } from "../../training/training_program.ts";
import type { TrainingOptions } from "./training_options.ts";

/** How many kinds are given at most: data sets in many buckets can pair in hundreds of ways. */
const mostKinds = 16;

/**
 * The kinds of micro-batches that a training meets, those with the most latent cells first: pairs of whole and short batches, each at its places in a step.
 *
 * @param contextSizes For each data set `BatchShape.contextSize`, undefined where it has none.
 * @returns The largest of them, and how many there are.
 */
export function microBatchKinds(
  datasets: readonly Dataset[],
  options: Pick<TrainingOptions, "accumulationSteps" | "maxTokenLength" | "weightedCaptions">,
  contextSizes: readonly (number | undefined)[] = [],
): { kinds: MicroBatchKind[]; count: number } {
  const { accumulationSteps = 1 } = options, prompts = promptShape(options);
  const batches = Math.max(...datasets.map((dataset) => dataset.batchesPerEpoch));
  const accumulations = Array.from({ length: batches }, (_, at) => {
    const count = Math.min(accumulationSteps, batches - at + at % accumulationSteps);
    return { count, isLast: at % accumulationSteps === count - 1 };
  });
  const rows = datasets.map((dataset, k) => {
    const contextSize = contextSizes[k], context = contextSize === undefined ? {} : { contextSize };
    return batchSizes(dataset).map((size) => ({ ...size, ...prompts, ...context }));
  });
  // Batches of one bucket each are paired by place, the shorter row repeated; with more they are shuffled, and can meet in any way.
  const isShuffled = datasets.some(({ buckets }) => buckets.length > 1);
  const kinds = distinct(
    isShuffled
      ? allPairs(rows.map(distinct)).flatMap((shapes) =>
        distinct(accumulations).map((accumulation) => ({ shapes, accumulation }))
      )
      : accumulations.map((accumulation, at) => ({ shapes: rows.map((row) => row[at % row.length]), accumulation })),
  );
  return {
    kinds: kinds.toSorted((a, b) => cells(b.shapes) - cells(a.shapes)).slice(0, mostKinds),
    count: kinds.length,
  };
}

/** Sizes of a data set's held-out batches. */
export function heldOutShapes(
  dataset: Dataset,
  options: Pick<TrainingOptions, "maxTokenLength" | "weightedCaptions" | "maxValidationBatches">,
): BatchShape[] {
  return distinct(
    dataset.validationBatches().slice(0, options.maxValidationBatches).map(({ width, height, samples }) => ({
      batch: samples.length,
      height: latentCells(height),
      width: latentCells(width),
      ...promptShape(options),
    })),
  );
}

function promptShape(
  { maxTokenLength = 75, weightedCaptions = false }: Pick<TrainingOptions, "maxTokenLength" | "weightedCaptions">,
): Pick<BatchShape, "tokenRows" | "hasTokenWeights"> {
  return { tokenRows: maxTokenLength / 75, ...weightedCaptions ? { hasTokenWeights: true } : {} };
}

/** Sizes of a data set's batches in the order of an epoch that is not shuffled; a bucket's last one may be short. */
function batchSizes({ buckets }: Dataset): Omit<BatchShape, "tokenRows" | "hasTokenWeights">[] {
  return buckets.flatMap(({ size: { width, height }, batchSize, entries }) =>
    Array.from({ length: Math.ceil(entries.length / batchSize) }, (_, at) => ({
      batch: Math.min(batchSize, entries.length - at * batchSize),
      height: latentCells(height),
      width: latentCells(width),
    }))
  );
}

function allPairs(rows: readonly (readonly BatchShape[])[]): BatchShape[][] {
  return rows.reduce<BatchShape[][]>((pairs, row) => pairs.flatMap((pair) => row.map((each) => [...pair, each])), [[]]);
}

function distinct<T>(values: readonly T[]): T[] {
  return [...new Map(values.map((value) => [JSON.stringify(value), value])).values()];
}

function cells(shapes: readonly BatchShape[]): number {
  return shapes.reduce((sum, { batch, height, width }) => sum + batch * height * width, 0);
}
