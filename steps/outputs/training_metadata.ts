import { createHash } from "node:crypto";
import type { Dataset } from "../../data/dataset.ts";
import { type KohyaFacts, kohyaMetadata } from "../../formats/kohya_metadata.ts";
import type { BaseModel } from "../../models/base_model.ts";
import type { NetworkOptions } from "../values/network.ts";
import type { TrainingOptions } from "../values/training_options.ts";
import { precisionName } from "../values/mixed_precision.ts";
import { baseFacts, dataFacts, networkFacts, optimizerText, rateFacts, vaeFacts } from "./network_facts.ts";

/** One network of a training, as far as its metadata are about it. */
export interface MetadataNetwork {
  readonly number: 1 | 2;
  readonly base: BaseModel;
  readonly dataset: Dataset;
  readonly built: NetworkOptions;
  /** The training's options with what the network has of its own. */
  readonly options: TrainingOptions;
}

/** Length of a training and where its latents come from. */
export interface MetadataRun {
  readonly epochs: number;
  readonly totalSteps: number;
  readonly cachesLatents: boolean;
}

/** The metadata of each network's files, each with its own values; what is known only when a file is written is left out. */
export async function trainingMetadata(
  networks: readonly MetadataNetwork[],
  run: MetadataRun,
): Promise<Map<1 | 2, Record<string, string>>> {
  const facts: KohyaFacts[] = [];
  for (const network of networks) facts.push(await factsOf(network, run));
  // Equal runs have equal files: the number that sd-scripts draws comes from the settings.
  const all = facts.map((each) => [...kohyaMetadata(each)]), hash = createHash("sha256").update(JSON.stringify(all));
  const sessionId = hash.digest().readUInt32LE(0);
  return new Map(
    networks.map(({ number }, k) => [number, Object.fromEntries(kohyaMetadata({ ...facts[k], sessionId }))]),
  );
}

async function factsOf(
  { base, dataset, built, options }: MetadataNetwork,
  { epochs, totalSteps, cachesLatents }: MetadataRun,
): Promise<KohyaFacts> {
  const { datasets, captions, hasDatasetConfig, priorLossWeight } = dataFacts(dataset);
  const { precision, clipSkip = 1 } = base.options, { maxTokenLength = 75, optimizer = "AdamW" } = options;
  // Off is Python's None there.
  const unlessOff = (value: number | undefined) => value || null;
  return {
    sessionId: 0,
    network: networkFacts(built),
    datasets,
    captions,
    hasDatasetConfig,
    base: await baseFacts(base.checkpoint),
    vae: await vaeFacts(base.checkpoint),
    training: {
      ...rateFacts(options),
      batchesPerEpoch: dataset.batchesPerEpoch,
      epochs,
      steps: totalSteps,
      gradientCheckpointing: options.gradientCheckpointing ?? false,
      accumulationSteps: options.accumulationSteps ?? 1,
      warmupSteps: options.warmupSteps ?? 0,
      mixedPrecision: options.mixedPrecision ?? precisionName(precision ?? "f32"),
      clipSkip: clipSkip === 1 ? null : clipSkip,
      maxTokenLength: maxTokenLength === 75 ? null : maxTokenLength,
      cachesLatents,
      seed: options.seed ?? 1,
      isLowMemory: false,
      noiseOffset: unlessOff(options.noiseOffset),
      multiresNoiseIterations: unlessOff(options.multiresNoiseIterations),
      multiresNoiseDiscount: options.multiresNoiseDiscount ?? 0.3,
      minSnrGamma: unlessOff(options.minSnrGamma),
      optimizer: optimizerText(optimizer, options.optimizerArguments),
      maxGradNorm: options.maxGradNorm ?? 1,
      priorLossWeight,
    },
  };
}
