/**
 * What a data set is made of and how its pictures change: sd-scripts' settings under their own names, in camelCase. All
 * of it is plain JSON.
 *
 * @module
 */

/** How the pictures and captions of a subset are shown. May stand in a data set as well, for all its subsets. */
export interface SubsetDefaults {
  /** How often an epoch shows each picture (`num_repeats`, `--dataset_repeats`); 1 when left out. Below 1 the subset is left out. */
  readonly numRepeats?: number;
  /** Caption of pictures without a caption file (`class_tokens`); none when left out. */
  readonly classTokens?: string;
  /** Ending of caption files (`--caption_extension`); when left out `.caption` and, where there is none, `.txt`. */
  readonly captionExtension?: string;
  /** Puts the tags of a caption, the parts between commas, in another order each time (`--shuffle_caption`). */
  readonly shuffleCaption?: boolean;
  /** Tags at the start that are neither shuffled nor dropped (`--keep_tokens`); 0 when left out. */
  readonly keepTokens?: number;
  /** Share of samples, 0…1, that get an empty caption (`--caption_dropout_rate`); 0 when left out. */
  readonly captionDropoutRate?: number;
  /** Every so many epochs, counted from 1, all captions are empty (`--caption_dropout_every_n_epochs`); 0, never, when left out. */
  readonly captionDropoutEveryNEpochs?: number;
  /** Share of the tags, 0…1, that are left out (`--caption_tag_dropout_rate`); 0 when left out. */
  readonly captionTagDropoutRate?: number;
  /** Tags to begin with while `tokenWarmupStep` lasts (`--token_warmup_min`); 1 when left out. */
  readonly tokenWarmupMin?: number;
  /** Steps until all tags are in use; below 1 a share of all steps (`--token_warmup_step`); 0, all from the start, when left out. */
  readonly tokenWarmupStep?: number;
  /** Mirrors each sample with a probability of one half (`--flip_aug`). */
  readonly flipAug?: boolean;
  /** Shifts hue or gamma a little in a third of the samples (`--color_aug`); needs latents that are not cached. */
  readonly colorAug?: boolean;
  /** Cuts each sample at a place of its own instead of the middle (`--random_crop`); needs latents that are not cached. */
  readonly randomCrop?: boolean;
  /** Cuts around the face that the file's name tells, between so many times its size (`--face_crop_aug_range`); without buckets only. */
  readonly faceCropAugRange?: readonly [number, number];
}

/** One folder of pictures, or one file of metadata. */
export interface SubsetOptions extends SubsetDefaults {
  /** Folder with the pictures (`image_dir`). */
  readonly imageDir?: string;
  /** Fine-tuning metadata (`metadata_file`, `--in_json`): JSON with a caption and tags for each picture, which lie in `imageDir` or where the key says. */
  readonly metadataFile?: string;
  /** Regularization pictures (`is_reg`): pictures of the class in general. */
  readonly isReg?: boolean;
}

/** Pictures that share sizes and batches. */
export interface DatasetOptions extends SubsetDefaults {
  /** Width and height in pixels, or one number for both (`--resolution`); with buckets, what their area comes from. Needed unless metadata give all sizes. */
  readonly resolution?: number | readonly [number, number];
  /** Pictures in a batch (`--train_batch_size`); 1 when left out. */
  readonly batchSize?: number;
  /** Sorts pictures into sizes by their aspect ratio (`--enable_bucket`); otherwise all get `resolution`. */
  readonly enableBucket?: boolean;
  /** Shortest side of a bucket in pixels (`--min_bucket_reso`); 256 when left out. */
  readonly minBucketReso?: number;
  /** Longest side of a bucket in pixels (`--max_bucket_reso`); 1024 when left out. */
  readonly maxBucketReso?: number;
  /** Sides of buckets are multiples of so many pixels (`--bucket_reso_steps`); 64 when left out. */
  readonly bucketResoSteps?: number;
  /** Makes buckets from the pictures' own sizes and enlarges none (`--bucket_no_upscale`). */
  readonly bucketNoUpscale?: boolean;
  /** Weight of the loss of regularization pictures (`--prior_loss_weight`); 1 when left out. */
  readonly priorLossWeight?: number;
  /** Folder of folders named `<repeats>_<class tokens>`, each a subset (`--train_data_dir`). */
  readonly trainDataDir?: string;
  /** The same for regularization pictures (`--reg_data_dir`). */
  readonly regDataDir?: string;
  /** Subsets one by one; may stand beside `trainDataDir`. */
  readonly subsets?: readonly SubsetOptions[];
}
