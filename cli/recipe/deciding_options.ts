import type { ReadDatasetsOptions } from "../../steps/read_datasets.ts";
import type { LoraFileOptions } from "../../steps/outputs/lora_files.ts";
import type { SaveOptions } from "../../steps/outputs/saving.ts";
import type { CoupledTrainingOptions } from "../../steps/train_network_2.ts";
import type { NetworkStartOptions } from "../../steps/values/network.ts";
import { findsOwnRates, type TrainingOptions } from "../../steps/values/training_options.ts";
import type { StepCall } from "./step_calls.ts";

type DatasetOptions = ReadDatasetsOptions["network1"][number];
type SubsetOptions = NonNullable<DatasetOptions["subsets"]>[number];
type Orthogonality = NonNullable<CoupledTrainingOptions["orthogonality"]>;
type Epochs = { readonly annealEpoch?: number; readonly halfAnnealEpoch?: number };

/**
 * A recipe's steps without the options that decide nothing beside the others, such as `keepTokens` where no caption is
 * shuffled: recipes that are equal in these do the same. What two networks share is written out for each.
 *
 * @param calls Steps that take their options: `recipeOf` has made them.
 */
export function decidingCalls(calls: readonly StepCall[]): unknown[] {
  const coupled = calls.flatMap(([step, options]) => step === "trainBoth" || step === "trainNetwork2" ? [options] : []);
  const isCoupled = coupled.some((options) => hasTerm(decidingOrthogonality(options)));
  return calls.map((call) => [call[0], decidingOptions(call, isCoupled)]);
}

/** @param isCoupled Whether there is a loss that couples two networks, from whatever epoch on. */
function decidingOptions([step, options]: StepCall, isCoupled: boolean): unknown {
  switch (step) {
    case "readDatasets":
      return {
        ...options,
        network1: options.network1.map(decidingDataset),
        network2: options.network2?.map(decidingDataset),
      };
    case "pretrainNetwork1":
      return decidingSide(options);
    case "freezeNetwork1":
      return { mode: options.mode, ...decidingEpochs(options, isCoupled || options.mode === "semi", isCoupled) };
    case "trainNetwork2": {
      const { network1, orthogonality: _, ...shared } = options;
      return {
        network1: network1 && decidingSide({ ...shared, ...network1 }),
        network2: decidingSide(shared),
        orthogonality: decidingOrthogonality(options),
      };
    }
    case "trainBoth": {
      const { network2, annealEpoch, halfAnnealEpoch, orthogonality: _, ...network1 } = options;
      const { weights: _w, ranksFromWeights: _r, ...inherited } = network1;
      return {
        network1: decidingSide(network1),
        network2: decidingSide({ ...inherited, ...network2 }),
        orthogonality: decidingOrthogonality(options),
        ...decidingEpochs({ annealEpoch, halfAnnealEpoch }, isCoupled, isCoupled),
      };
    }
    case "saveNetworks":
      return decidingFile(options);
    default:
      return options;
  }
}

/** Options but those that are true in `idle`. */
function without<Options extends object>(
  options: Options,
  idle: { readonly [Name in keyof Options]?: boolean },
): Partial<Options> {
  const names: Readonly<Record<string, boolean | undefined>> = idle;
  return Object.fromEntries(Object.entries(options).filter(([name]) => !names[name])) as Partial<Options>;
}

function decidingDataset(options: DatasetOptions): unknown {
  const { minBucketReso, maxBucketReso, bucketResoSteps, bucketNoUpscale, priorLossWeight, ...others } = options;
  const { resolution, batchSize, enableBucket = false, trainDataDir, regDataDir, subsets = [], ...defaults } = others;
  const hasReg = regDataDir !== undefined || subsets.some(({ isReg }) => isReg);
  return {
    ...{ resolution, batchSize, enableBucket },
    ...enableBucket ? { bucketResoSteps, bucketNoUpscale } : {},
    ...enableBucket && !bucketNoUpscale ? { minBucketReso, maxBucketReso } : {},
    ...hasReg ? { priorLossWeight } : {},
    folders: trainDataDir === undefined
      ? undefined
      : { trainDataDir, regDataDir, ...decidingSubset(defaults, enableBucket) },
    // What a subset does not say, its data set does.
    subsets: subsets.map((subset) => decidingSubset({ ...defaults, ...subset }, enableBucket)),
  };
}

function decidingSubset(options: SubsetOptions, enableBucket: boolean): SubsetOptions {
  const { shuffleCaption, captionTagDropoutRate = 0, tokenWarmupStep = 0, metadataFile } = options;
  return without(options, {
    // Warm-up takes the first tags in any case.
    keepTokens: !shuffleCaption && captionTagDropoutRate === 0,
    tokenWarmupMin: tokenWarmupStep === 0,
    captionExtension: metadataFile !== undefined,
    faceCropAugRange: enableBucket,
  });
}

/** One network's options, those that both have among them. */
function decidingSide(options: TrainingOptions & NetworkStartOptions): unknown {
  const { parts = ["text_encoder", "unet"], accumulationSteps = 1, schedule = "constant", save } = options;
  const { textEncoderLearningRate, unetLearningRate, ranksFromWeights = false } = options;
  const trainsText = parts.includes("text_encoder"), trainsUnet = parts.includes("unet");
  const hasPartRates = (!trainsText || textEncoderLearningRate !== undefined) &&
    (!trainsUnet || unetLearningRate !== undefined);
  const isOwn = findsOwnRates(options), isFixed = isOwn || schedule === "constant" || schedule === "adafactor";
  return {
    ...without(options, {
      textEncoderLearningRate: !trainsText || (isOwn && textEncoderLearningRate !== 0),
      unetLearningRate: !trainsUnet || (isOwn && unetLearningRate !== 0),
      learningRate: isOwn || hasPartRates,
      warmupSteps: isFixed,
      scheduleCycles: isFixed,
      schedulePower: isFixed,
      // The schedule `adafactor` shows the rates that are found, and nothing else.
      schedule: isOwn,
      scheduleUnit: isFixed || accumulationSteps === 1,
      rank: ranksFromWeights,
      alpha: ranksFromWeights,
    }),
    save: save && decidingSave(save),
  };
}

function decidingOrthogonality({ orthogonality = {}, parts }: CoupledTrainingOptions): Orthogonality {
  const { textEncoder = 1, unet = 1, divergence = 0 } = orthogonality;
  const hasText = parts?.includes("text_encoder") ?? true, hasUnet = parts?.includes("unet") ?? true;
  const deciding = { textEncoder: hasText ? textEncoder : 0, unet: hasUnet ? unet : 0, divergence };
  return {
    ...deciding,
    ...without(orthogonality, {
      ...{ textEncoder: true, unet: true, divergence: true },
      textMask: deciding.textEncoder === 0,
      form: !hasTerm(deciding),
    }),
  };
}

function hasTerm({ textEncoder, unet, divergence }: Orthogonality): boolean {
  return textEncoder !== 0 || unet !== 0 || divergence !== 0;
}

/**
 * @param hasPhases Whether anything begins at `annealEpoch`.
 * @param isCoupled Whether the coupling does.
 */
function decidingEpochs({ annealEpoch = 0, halfAnnealEpoch = 0 }: Epochs, hasPhases: boolean, isCoupled: boolean) {
  // There is an epoch behind the half and before the whole from the second on.
  return {
    annealEpoch: hasPhases ? annealEpoch : 0,
    halfAnnealEpoch: isCoupled && annealEpoch > 1 ? halfAnnealEpoch : 0,
  };
}

function decidingSave(options: SaveOptions): unknown {
  const { everyEpochs, timesPerRun, everySteps, state = false } = options;
  const byEpochs = everyEpochs !== undefined || timesPerRun !== undefined, bySteps = everySteps !== undefined;
  if (!byEpochs && !bySteps && !state) return undefined;
  return without(decidingFile(options), {
    everyEpochs: timesPerRun !== undefined,
    lastEpochs: !byEpochs,
    lastSteps: !bySteps,
    lastEpochsState: !byEpochs || !state,
    lastStepsState: !bySteps || !state,
  });
}

function decidingFile<Options extends LoraFileOptions>(options: Options): Omit<Options, "comment" | "metadata"> {
  const { comment, metadata = true, ...others } = options;
  // PyTorch's formats have none.
  if ((options.format ?? "safetensors") !== "safetensors") return others;
  return { ...others, metadata, ...metadata ? { comment } : {} };
}
