import { hashFile, hashJson, recordFolder } from "../../pipeline/mod.ts";
import { loadBases } from "../load_bases.ts";
import { hashStarts } from "../values/network_start.ts";
import type { ComparisonOptions, Variant } from "./variant.ts";

/** The hash of all that decides a cell. */
export type CellSettings = (variant: Variant, seed: number) => string;

/**
 * What tells cells of other settings apart.
 *
 * Contents count, not where they lie: of the base, of pictures and captions, of the file of regions, of LoRA files that networks start from. What a cell is made of
 * counts too: a projected network 2 is the baseline's. Which other variants and seeds there are does not.
 *
 * @param signal Stops the hashing of a large base.
 */
export async function cellSettings(
  options: ComparisonOptions,
  signal: AbortSignal,
): Promise<CellSettings> {
  const { folder, network1, network2, regions, resolution, buckets, batchSize, priorLossWeight = 1, heldOut } = options;
  const { training, pretraining = {}, pictures, prompts, variants: [{ name: _, ...baseline }] } = options;
  const folders = [network1.train, network1.reg, network2.train, network2.reg].filter((each) => each !== undefined);
  const bases = loadBases(options.bases);
  const contents = {
    base: [bases.options, await bases.fingerprint!(signal, folder)],
    data: await Promise.all(folders.map((each) => recordFolder(each, { followLinks: true }))),
    regions: regions === undefined ? null : await hashFile(regions),
    starts: await hashStarts(training),
  };
  const shared = {
    ...{ resolution, buckets, batchSize, priorLossWeight, heldOut, training, pretraining, pictures, prompts },
    ...contents,
  };
  return ({ name: _, ...own }, seed) =>
    hashJson({ ...shared, own, seed, ...own.training === "projected" ? { baseline } : {} });
}
