import { readDatasetConfig } from "../../steps/dataset_config/read_dataset_config.ts";
import type { ReadDatasetsOptions } from "../../steps/read_datasets.ts";
import type { FlagName, FlagValues } from "../flags/table.ts";
import { pythonFloat, pythonInt } from "../settings/python_numbers.ts";
import { UsageError } from "../usage_error.ts";
import { flagOf, type NetworkSettings, settingsOf } from "./network_settings.ts";
import { allGiven, changed } from "./changed.ts";

type DatasetOptions = ReadDatasetsOptions["network1"][number];

/** Options of `readDatasets`. */
export async function datasetsOptions(values: FlagValues, isPair: boolean): Promise<ReadDatasetsOptions> {
  return {
    network1: await datasetsOf(values, 1),
    ...(isPair ? { network2: await datasetsOf(values, 2) } : {}),
    ...changed({ seed: [values.seed, null], validationSplit: [values.validation_split, 0] }),
    // Without held-out pictures nothing about them decides anything.
    ...(values.validation_split ? changed({ validationSeed: [values.validation_seed, null] }) : {}),
  };
}

/** A network's data sets: those of its file, else one from its folders. */
async function datasetsOf(values: FlagValues, network: 1 | 2): Promise<readonly DatasetOptions[]> {
  const file = network === 1 ? values.dataset_config : values.dataset_config_2;
  if (!file) return [datasetOf(values, network)];
  const settings = settingsOf(values, network);
  return await readDatasetConfig(file, {
    ...sharedOptions(values, network, true),
    numRepeats: settings.dataset_repeats,
  });
}

/** A network's data set from its folders, or its folder and its file of captions. */
function datasetOf(values: FlagValues, network: 1 | 2): DatasetOptions {
  const settings = settingsOf(values, network), metadataFile = network === 1 ? values.in_json : values.in_json_2;
  const folder = network === 1 ? values.train_data_dir : values.train_data_dir_2;
  if (metadataFile) {
    return {
      subsets: [{
        ...(folder ? { imageDir: folder } : {}),
        metadataFile,
        ...changed({ numRepeats: [settings.dataset_repeats, 1] }),
      }],
      ...sharedOptions(values, network),
    };
  }
  if (!folder) {
    throw new UsageError("--train_data_dir is missing: a folder of folders <repeats>_<class> with pictures");
  }
  const reg = network === 1 ? values.reg_data_dir : values.reg_data_dir_2;
  return { trainDataDir: folder, ...(reg ? { regDataDir: reg } : {}), ...sharedOptions(values, network) };
}

/**
 * What a data set's pictures have in common.
 *
 * @param isForFile Whether a file may say more: then all values are given, for sd-scripts' own defaults count there as well. Else what stands at the
 * step's own default is left out.
 */
function sharedOptions(
  values: FlagValues,
  network: 1 | 2,
  isForFile = false,
): DatasetOptions {
  const settings = settingsOf(values, network), { caption_extention } = values;
  const resolution = resolutionOf(settings, flagOf(values, network, "resolution")),
    taken = isForFile ? allGiven : changed;
  const buckets = () =>
    taken({
      enableBucket: [settings.enable_bucket, false],
      minBucketReso: [settings.min_bucket_reso, 256],
      maxBucketReso: [settings.max_bucket_reso, 1024],
      bucketResoSteps: [settings.bucket_reso_steps, 64],
      bucketNoUpscale: [settings.bucket_no_upscale, false],
    });
  return {
    ...(resolution === undefined ? {} : { resolution }),
    // Without buckets their sizes decide nothing, and are not looked at.
    ...(settings.enable_bucket || isForFile ? buckets() : {}),
    ...taken({
      batchSize: [settings.train_batch_size, 1],
      priorLossWeight: [settings.prior_loss_weight, 1],
      // Left out, the step would look for .txt as well.
      captionExtension: [caption_extention || settings.caption_extension, null],
      shuffleCaption: [settings.shuffle_caption, false],
      keepTokens: [settings.keep_tokens, 0],
      captionDropoutRate: [settings.caption_dropout_rate, 0],
      captionDropoutEveryNEpochs: [settings.caption_dropout_every_n_epochs, 0],
      captionTagDropoutRate: [settings.caption_tag_dropout_rate, 0],
      tokenWarmupMin: [settings.token_warmup_min, 1],
      tokenWarmupStep: [settings.token_warmup_step, 0],
      flipAug: [settings.flip_aug, false],
      colorAug: [settings.color_aug, false],
      randomCrop: [settings.random_crop, false],
      faceCropAugRange: [rangeOf(settings, flagOf(values, network, "face_crop_aug_range")), null],
    }),
  };
}

/** `2.0,4.0`: from, to. */
function rangeOf({ face_crop_aug_range: text }: NetworkSettings, flag: FlagName): readonly [number, number] | null {
  if (!text) return null;
  const [from, to, ...more] = text.split(",").map(pythonFloat);
  if (from === undefined || to === undefined || more.length > 0) {
    throw new UsageError(`--${flag} is ${JSON.stringify(text)}, must be two numbers, such as 2.0,4.0`);
  }
  return [from, to];
}

/** `512` or `512,768`: width, then height. */
function resolutionOf({ resolution }: NetworkSettings, flag: FlagName): number | [number, number] | undefined {
  if (!resolution) return undefined;
  const sides = resolution.split(",").map(pythonInt);
  const [width, height] = sides;
  if (width === undefined || sides.length > 2 || sides.includes(undefined)) {
    throw new UsageError(
      `--${flag} is ${JSON.stringify(resolution)}, must be one size in pixels or width,height, such as 512 or 512,768`,
    );
  }
  return height === undefined || height === width ? width : [width, height];
}
