/** What a value must be, in words for messages, and how it is read; `undefined` says that it is something else. */
export interface ValueKind {
  readonly wanted: string;
  readonly read: (value: ConfigValue) => unknown;
}

/** A value of a file: whole numbers are BigInt, so that 1 and 1.0 stay apart. */
export type ConfigValue = null | string | number | bigint | boolean | ConfigValue[] | { [key: string]: ConfigValue };

function readInteger(value: ConfigValue): number | undefined {
  // Python's true is a whole number, and so sd-scripts takes it.
  return typeof value === "bigint" || typeof value === "boolean" ? Number(value) : undefined;
}

const integer: ValueKind = { wanted: "a whole number", read: readInteger };
const flag: ValueKind = { wanted: "true or false", read: (value) => typeof value === "boolean" ? value : undefined };
const text: ValueKind = { wanted: "text in quotes", read: (value) => typeof value === "string" ? value : undefined };
const number: ValueKind = {
  wanted: "a number",
  read: (value) => typeof value === "number" ? value : readInteger(value),
};
const sides: ValueKind = {
  wanted: "a whole number of pixels, or a list of width and height",
  read: (value) => {
    const list = Array.isArray(value) ? value.map(readInteger) : [readInteger(value), readInteger(value)];
    return list.length === 2 && list.every((side) => side !== undefined) ? list : undefined;
  },
};
const range: ValueKind = {
  wanted: "a list of two numbers with decimal points, such as [2.0, 4.0]",
  read: (value) => {
    const isRange = Array.isArray(value) && value.length === 2 && value.every((side) => typeof side === "number");
    return isRange ? value : undefined;
  },
};

type Keys = Readonly<Record<string, ValueKind>>;

/** Keys that a subset may have, and all levels above it. */
const subsetKeys: Keys = {
  color_aug: flag,
  face_crop_aug_range: range,
  flip_aug: flag,
  num_repeats: integer,
  random_crop: flag,
  shuffle_caption: flag,
  keep_tokens: integer,
  token_warmup_min: integer,
  token_warmup_step: number,
  caption_dropout_every_n_epochs: integer,
  caption_dropout_rate: number,
  caption_tag_dropout_rate: number,
};

/** The same for folders with captions beside the pictures. */
const folderKeys: Keys = { caption_extension: text, class_tokens: text };

/** Keys that a data set may have, and `general`. */
const datasetKeys: Keys = {
  batch_size: integer,
  bucket_no_upscale: flag,
  bucket_reso_steps: integer,
  enable_bucket: flag,
  max_bucket_reso: integer,
  min_bucket_reso: integer,
  resolution: sides,
};

/** Keys of each level of a file; a data set's depend on what its subsets are made of. */
export const schema = {
  general: { ...datasetKeys, ...subsetKeys, ...folderKeys },
  folders: {
    dataset: { ...datasetKeys, ...subsetKeys, ...folderKeys },
    subset: { ...subsetKeys, ...folderKeys, image_dir: text, is_reg: flag },
    required: "image_dir",
  },
  metadata: {
    dataset: { ...datasetKeys, ...subsetKeys },
    subset: { ...subsetKeys, metadata_file: text, image_dir: text },
    required: "metadata_file",
  },
} as const;

/** Defaults of a subset's settings, where no level has any. */
export const subsetDefaults = {
  num_repeats: 1,
  shuffle_caption: false,
  keep_tokens: 0,
  color_aug: false,
  flip_aug: false,
  face_crop_aug_range: undefined,
  random_crop: false,
  caption_dropout_rate: 0,
  caption_dropout_every_n_epochs: 0,
  caption_tag_dropout_rate: 0,
  token_warmup_min: 1,
  token_warmup_step: 0,
} as const;

/** Defaults of what folders have beside that. */
export const folderDefaults = { is_reg: false, class_tokens: undefined, caption_extension: ".caption" } as const;

/** Defaults of a data set's settings. */
export const datasetDefaults = {
  resolution: undefined,
  batch_size: 1,
  enable_bucket: false,
  min_bucket_reso: 256,
  max_bucket_reso: 1024,
  bucket_reso_steps: 64,
  bucket_no_upscale: false,
} as const;
