import type { DatasetOptions } from "../../data/dataset_options.ts";
import type { FreezeNetwork1Options } from "../freeze_network_1.ts";
import type { ProjectNetwork2Options } from "../project_network_2.ts";
import type { SampleOptions } from "../sample.ts";
import type { LoadBasesOptions } from "../load_bases.ts";
import type { OrthogonalitySetting, StackSetting } from "../values/coupling_options.ts";
import type { NetworkStartOptions } from "../values/network.ts";
import type { TrainingOptions } from "../values/training_options.ts";

/** One way to make two LoRA networks that are to be stacked: a row of the comparison. */
export interface Variant {
  /** What the table calls it; names its folder too. */
  readonly name: string;
  /**
   * `after`, when left out: network 2 is trained against a network 1 that was pretrained and then frozen. `both`: the two are trained side by side from the start.
   * `projected`: the baseline's network 2 without what lies in network 1's space; nothing is trained.
   */
  readonly training?: "after" | "both" | "projected";
  /** Nothing keeps the networks apart when left out: the terms of the method's two hooks are measured alone. */
  readonly orthogonality?: Exclude<OrthogonalitySetting, false>;
  /** Network 2 also learns with both networks in one base. */
  readonly stack?: Exclude<StackSetting, false>;
  /** Frozen down projections in disjoint places of one orthonormal basis: network 1 has to be pretrained for it. */
  readonly orthonormal?: boolean;
  /** What a `projected` one leaves out; `rows` when left out. */
  readonly side?: ProjectNetwork2Options["side"];
  /** How network 1 is frozen while network 2 is trained after it; `full` when left out. */
  readonly freezing?: FreezeNetwork1Options;
}

/** How pictures are sorted into sizes. */
export type BucketOptions = Pick<
  DatasetOptions,
  "enableBucket" | "minBucketReso" | "maxBucketReso" | "bucketResoSteps" | "bucketNoUpscale"
>;

/** What is compared, on which data. All variants share everything but what they are. */
export interface ComparisonOptions {
  /** What the comparison makes: a folder for each cell, tables and pictures. */
  readonly folder: string;
  readonly bases: LoadBasesOptions;
  /** Folders in DreamBooth's layout, with regularization pictures or without. */
  readonly network1: { readonly train: string; readonly reg?: string };
  readonly network2: { readonly train: string; readonly reg?: string };
  readonly resolution: number;
  /** Several sizes for pictures that are not square; all are cut to a square when left out. */
  readonly buckets?: BucketOptions;
  readonly batchSize: number;
  /** Loss weight of regularization pictures; 1 when left out. */
  readonly priorLossWeight?: number;
  /** Share of each network's pictures that no network is trained on: additivity is measured on them. */
  readonly heldOut: number;
  /** Network 2, and network 1 where `network1Training` says nothing else. */
  readonly training: NetworkStartOptions & Omit<TrainingOptions, "seed">;
  /** What is otherwise where network 1 is pretrained. */
  readonly pretraining?: Omit<TrainingOptions, "seed">;
  /** How pictures are made; the prompts may have `{row}` for each row's text. */
  readonly pictures: Omit<SampleOptions<Record<never, never>>, "networks" | "columns" | "baselines">;
  readonly prompts: { readonly network1: string; readonly network2: string; readonly stack: string };
  /** Cells that network 1's concept and network 2's decide, where they can be read off a picture; see `measureRetention`. */
  readonly regions?: string;
  readonly seeds: readonly number[];
  /** The first is the baseline that the others are tested against. */
  readonly variants: readonly Variant[];
}

/** Letters and digits of a variant's name: its folder. */
export function variantFolder({ name }: Pick<Variant, "name">): string {
  return name.toLowerCase().normalize("NFKD").replaceAll(/[^a-z0-9.]+/g, "-").replaceAll(/^-+|-+$/g, "");
}

/**
 * Checks what can be wrong before anything runs.
 *
 * @throws {RangeError} If there is no variant or no seed, a seed is out of range, two variants have one folder, or the first cannot be a baseline.
 */
export function checkComparison({ variants, seeds }: Pick<ComparisonOptions, "variants" | "seeds">): void {
  if (variants.length === 0 || seeds.length === 0) {
    throw new RangeError(
      `Cannot compare: ${variants.length} variants and ${seeds.length} seeds, must be one of each at least`,
    );
  }
  for (const [at, seed] of seeds.entries()) {
    if (!Number.isSafeInteger(seed) || seed < 0 || seeds.indexOf(seed) !== at) {
      throw new RangeError(`Cannot compare: seeds are ${seeds.join(", ")}, must be different whole numbers from 0 on`);
    }
  }
  const folders = variants.map(variantFolder);
  for (const [at, folder] of folders.entries()) {
    if (folder === "" || folders.indexOf(folder) !== at) {
      throw new RangeError(
        `Cannot compare: the name ${JSON.stringify(variants[at].name)} makes the folder ${
          JSON.stringify(folder)
        }, must be one of its own`,
      );
    }
  }
  const [{ name, training = "after", orthonormal = false }] = variants;
  if (training !== "after" || orthonormal) {
    throw new RangeError(
      `Cannot compare with ${
        JSON.stringify(name)
      }: the first variant is the baseline, whose network 2 is trained after network 1`,
    );
  }
}
