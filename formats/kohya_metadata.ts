import { PythonFloat, pythonJson, pythonStr, PythonTuple, type PythonValue } from "./python_text.ts";

/** A base model or VAE by the names that sd-scripts has for it. */
export interface ModelFacts {
  /** Name of the file, without its folder; or as it was given, where it is no file. */
  readonly name: string;
  /** Null where there is none: `ss_sd_model_hash`. */
  readonly legacy: string | null;
  /** `ss_new_sd_model_hash`. */
  readonly sha256: string | null;
}

/** A folder of pictures. */
export interface SubsetFacts {
  /** Name of the folder, or of the metadata file, without the path. */
  readonly name: string;
  readonly images: number;
  readonly repeats: number;
  readonly isReg: boolean;
  readonly classTokens: string | null;
  /** How often each tag stands in its captions, in the order of first sight. */
  readonly tags: ReadonlyMap<string, number>;
  readonly colorAug: boolean;
  readonly flipAug: boolean;
  readonly randomCrop: boolean;
  readonly shuffleCaption: boolean;
  readonly keepTokens: number;
}

/** Pictures that share sizes and batches. */
export interface DatasetFacts {
  readonly batchSize: number;
  /** Training pictures times repeats. */
  readonly trainImages: number;
  /** Regularization pictures times their folders' repeats. */
  readonly regImages: number;
  /** Width and height; null: what metadata say. */
  readonly resolution: readonly [number, number] | null;
  /** Null: without buckets. */
  readonly buckets: null | {
    readonly noUpscale: boolean;
    /** Least and most pixels of a side. */
    readonly limits: readonly [number, number];
    readonly sizes: readonly { readonly width: number; readonly height: number; readonly count: number }[];
    readonly meanAspectError: number;
  };
  readonly subsets: readonly SubsetFacts[];
}

/** What captions and cuts of all pictures have in common. */
export interface CaptionFacts {
  readonly dropoutRate: number;
  readonly dropoutEveryNEpochs: number;
  readonly tagDropoutRate: number;
  readonly faceCropRange: readonly [number, number] | null;
}

/** How a network was trained; null is what Python's `None` is. */
export interface TrainingFacts {
  readonly learningRate: number | null;
  readonly textEncoderLearningRate: number | null;
  readonly unetLearningRate: number | null;
  readonly batchesPerEpoch: number;
  readonly epochs: number;
  readonly steps: number;
  readonly gradientCheckpointing: boolean;
  readonly accumulationSteps: number;
  readonly warmupSteps: number;
  readonly schedule: string;
  /** `no`, `fp16` or `bf16`. */
  readonly mixedPrecision: string;
  readonly clipSkip: number | null;
  readonly maxTokenLength: number | null;
  readonly cachesLatents: boolean;
  readonly seed: number;
  readonly isLowMemory: boolean;
  readonly noiseOffset: number | null;
  readonly multiresNoiseIterations: number | null;
  readonly multiresNoiseDiscount: number;
  readonly minSnrGamma: number | null;
  /** Python's name of the class with its arguments in brackets. */
  readonly optimizer: string;
  readonly maxGradNorm: number;
  readonly priorLossWeight: number;
}

/** How a network is built. */
export interface NetworkFacts {
  readonly rank: number | null;
  /** A whole number is an int in Python, as where it was left at its default; `PythonFloat` one that was given. */
  readonly alpha: number | PythonFloat;
  /** `--network_args`; null where there are none. */
  readonly arguments: ReadonlyMap<string, string> | null;
}

/** What sd-scripts' metadata say of a network: its own data, base and training, whatever else was trained beside it. */
export interface KohyaFacts {
  /** 0 to 2^32 − 1; the same in all files of a run. */
  readonly sessionId: number;
  readonly training: TrainingFacts;
  readonly network: NetworkFacts;
  readonly captions: CaptionFacts;
  /** One, or with `--dataset_config` several. */
  readonly datasets: readonly DatasetFacts[];
  /** Whether the data sets are told one by one, as sd-scripts does with `--dataset_config`. */
  readonly hasDatasetConfig: boolean;
  readonly base: ModelFacts | null;
  /** A VAE that took the place of the base's own. */
  readonly vae: ModelFacts | null;
}

/**
 * Settings of a training under the keys and in the spelling of sd-scripts 0.6.4, and `ss_base_model_version` of its later releases. What is
 * known only when the file is written (names, times, comment) comes to it by {@link savedMetadata}.
 */
export function kohyaMetadata(facts: KohyaFacts): Map<string, string> {
  const { training, captions, datasets, hasDatasetConfig, base, vae } = facts;
  const sum = (of: (dataset: DatasetFacts) => number) => datasets.reduce((total, each) => total + of(each), 0);
  const values: Record<string, PythonValue> = {
    ss_session_id: facts.sessionId,
    ss_learning_rate: float(training.learningRate),
    ss_text_encoder_lr: float(training.textEncoderLearningRate),
    ss_unet_lr: float(training.unetLearningRate),
    ss_num_train_images: sum(({ trainImages }) => trainImages),
    ss_num_reg_images: sum(({ regImages }) => regImages),
    ss_num_batches_per_epoch: training.batchesPerEpoch,
    ss_num_epochs: training.epochs,
    ss_gradient_checkpointing: training.gradientCheckpointing,
    ss_gradient_accumulation_steps: training.accumulationSteps,
    ss_max_train_steps: training.steps,
    ss_lr_warmup_steps: training.warmupSteps,
    ss_lr_scheduler: training.schedule,
    ss_mixed_precision: training.mixedPrecision,
    ss_full_fp16: false,
    ss_v2: false,
    ss_base_model_version: "sd_v1",
    ss_clip_skip: training.clipSkip,
    ss_max_token_length: training.maxTokenLength,
    ss_cache_latents: training.cachesLatents,
    ss_seed: training.seed,
    ss_lowram: training.isLowMemory,
    ss_noise_offset: float(training.noiseOffset),
    ss_multires_noise_iterations: training.multiresNoiseIterations,
    ss_multires_noise_discount: float(training.multiresNoiseDiscount),
    ss_sd_scripts_commit_hash: "(unknown)",
    ss_optimizer: training.optimizer,
    ss_max_grad_norm: float(training.maxGradNorm),
    ss_caption_dropout_rate: float(captions.dropoutRate),
    ss_caption_dropout_every_n_epochs: captions.dropoutEveryNEpochs,
    ss_caption_tag_dropout_rate: float(captions.tagDropoutRate),
    ss_face_crop_aug_range: captions.faceCropRange && new PythonTuple(...captions.faceCropRange.map(float)),
    ss_prior_loss_weight: float(training.priorLossWeight),
    ss_min_snr_gamma: float(training.minSnrGamma),
    ...networkValues(facts.network),
    ...(hasDatasetConfig ? datasetsValues(datasets) : datasetValues(datasets[0], training.accumulationSteps)),
    ...(base ? modelValues(base, "sd_model") : {}),
    ...(vae ? modelValues(vae, "vae") : {}),
  };
  return new Map(Object.entries(values).map(([key, value]) => [key, pythonStr(value)]));
}

/** What comes to the metadata when a file is written. */
export interface SavingFacts {
  readonly outputName: string;
  readonly comment: string | null;
  /** Seconds since 1970. */
  readonly startedAt: number;
  readonly finishedAt: number;
  /** Optimizer steps done. */
  readonly steps: number;
  /** Epochs begun, counted from 1. */
  readonly epoch: number;
}

/** The metadata of one file: what {@link kohyaMetadata} gave, and what is known only now. */
export function savedMetadata(metadata: ReadonlyMap<string, string>, facts: SavingFacts): Map<string, string> {
  return new Map([
    ...metadata,
    ["ss_training_started_at", pythonStr(float(facts.startedAt))],
    ["ss_training_finished_at", pythonStr(float(facts.finishedAt))],
    ["ss_output_name", facts.outputName],
    ["ss_training_comment", pythonStr(facts.comment)],
    ["ss_steps", `${facts.steps}`],
    ["ss_epoch", `${facts.epoch}`],
  ]);
}

/** The keys that stay with `--no_metadata`: readers need them to know what kind of file it is. */
export function minimumMetadata(metadata: ReadonlyMap<string, string>): Map<string, string> {
  const keys = ["ss_network_module", "ss_network_dim", "ss_network_alpha", "ss_network_args"];
  return new Map([...metadata].filter(([key]) => keys.includes(key)));
}

/** A number that is a float in Python. */
function float(value: number): PythonFloat;
function float(value: number | null): PythonFloat | null;
function float(value: number | null): PythonFloat | null {
  return value === null ? null : new PythonFloat(value);
}

/** How the network is built, under sd-scripts' keys. */
export function networkValues({ rank, alpha, arguments: given }: NetworkFacts): Record<string, PythonValue> {
  return {
    ss_network_module: "networks.lora",
    ss_network_dim: rank,
    ss_network_alpha: alpha,
    ...(given ? { ss_network_args: pythonJson(given) } : {}),
  };
}

function modelValues({ name, legacy, sha256 }: ModelFacts, what: "sd_model" | "vae"): Record<string, PythonValue> {
  return {
    [`ss_${what}_name`]: name,
    ...(legacy === null ? {} : { [`ss_${what}_hash`]: legacy }),
    ...(sha256 === null ? {} : { [`ss_new_${what}_hash`]: sha256 }),
  };
}

/** As sd-scripts writes it for folders that flags name. */
function datasetValues(dataset: DatasetFacts, accumulationSteps: number): Record<string, PythonValue> {
  const { batchSize, resolution, buckets, subsets } = dataset;
  const first = subsets.find(({ isReg }) => !isReg) ?? subsets[0];
  return {
    ss_batch_size_per_device: batchSize,
    ss_total_batch_size: batchSize * accumulationSteps,
    ss_resolution: resolution && new PythonTuple(...resolution),
    ss_color_aug: first.colorAug,
    ss_flip_aug: first.flipAug,
    ss_random_crop: first.randomCrop,
    ss_shuffle_caption: first.shuffleCaption,
    ss_keep_tokens: first.keepTokens,
    ss_enable_bucket: buckets !== null,
    ss_bucket_no_upscale: buckets?.noUpscale ?? false,
    ss_min_bucket_reso: buckets?.limits[0],
    ss_max_bucket_reso: buckets?.limits[1],
    ss_bucket_info: pythonJson(bucketInfo(dataset)),
    ss_dataset_dirs: pythonJson(folderInfo(subsets.filter(({ isReg }) => !isReg))),
    ss_reg_dataset_dirs: pythonJson(folderInfo(subsets.filter(({ isReg }) => isReg))),
    ss_tag_frequency: pythonJson(tagInfo([dataset])),
  };
}

/** As sd-scripts writes it for data sets of a file, told one by one. */
function datasetsValues(datasets: readonly DatasetFacts[]): Record<string, PythonValue> {
  const told = datasets.map((dataset): PythonValue =>
    dict({
      is_dreambooth: true,
      batch_size_per_device: dataset.batchSize,
      num_train_images: dataset.trainImages,
      num_reg_images: dataset.regImages,
      resolution: dataset.resolution,
      enable_bucket: dataset.buckets !== null,
      ...(dataset.buckets ? bucketLimits(dataset.buckets) : {}),
      tag_frequency: tagInfo([dataset]),
      bucket_info: bucketInfo(dataset),
      subsets: dataset.subsets.map((subset) =>
        dict({
          img_count: subset.images,
          num_repeats: subset.repeats,
          color_aug: subset.colorAug,
          flip_aug: subset.flipAug,
          random_crop: subset.randomCrop,
          shuffle_caption: subset.shuffleCaption,
          keep_tokens: subset.keepTokens,
          image_dir: subset.name,
          class_tokens: subset.classTokens,
          is_reg: subset.isReg,
        })
      ),
    })
  );
  return {
    ss_datasets: pythonJson(told),
    ss_dataset_dirs: pythonJson(folderInfo(datasets.flatMap(({ subsets }) => subsets).filter(({ isReg }) => !isReg))),
    ss_tag_frequency: pythonJson(tagInfo(datasets)),
  };
}

function bucketLimits({ limits: [least, most] }: NonNullable<DatasetFacts["buckets"]>): Record<string, PythonValue> {
  return { min_bucket_reso: least, max_bucket_reso: most };
}

function bucketInfo({ buckets }: DatasetFacts): PythonValue {
  if (buckets === null) return null;
  const sizes = buckets.sizes.map(({ width, height, count }, at) =>
    [`${at}`, dict({ resolution: [width, height], count })] as const
  );
  return dict({ buckets: new Map(sizes), mean_img_ar_error: float(buckets.meanAspectError) });
}

/** Repeats and pictures of each folder; a second one of the same name gets a number. */
function folderInfo(subsets: readonly SubsetFacts[]): PythonValue {
  const found = new Map<string, PythonValue>();
  for (const { name, repeats, images } of subsets) {
    let key = name;
    for (let time = 2; found.has(key); time++) key = `${name} (${time})`;
    found.set(key, dict({ n_repeats: repeats, img_count: images }));
  }
  return found;
}

/** Tags of each folder; those of a folder that several data sets use count once. */
function tagInfo(datasets: readonly DatasetFacts[]): PythonValue {
  const all = new Map<string, ReadonlyMap<string, number>>();
  for (const { subsets } of datasets) {
    const own = new Map<string, Map<string, number>>();
    for (const { name, tags } of subsets) {
      const counts = own.get(name) ?? new Map<string, number>();
      for (const [tag, count] of tags) counts.set(tag, (counts.get(tag) ?? 0) + count);
      own.set(name, counts);
    }
    for (const [name, counts] of own) if (!all.has(name)) all.set(name, counts);
  }
  return all;
}

function dict(values: Readonly<Record<string, PythonValue>>): ReadonlyMap<string, PythonValue> {
  return new Map(Object.entries(values));
}
