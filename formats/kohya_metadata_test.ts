import { deepEqual, equal } from "node:assert/strict";
import {
  type DatasetFacts,
  type KohyaFacts,
  kohyaMetadata,
  minimumMetadata,
  type ModelFacts,
  savedMetadata,
  type SubsetFacts,
  type TrainingFacts,
} from "./kohya_metadata.ts";
import { PythonFloat } from "./python_text.ts";

/**
 * The metadata of stated runs, made by sd-scripts' and the original's own statements over real folders (tools/reference/files/gen_metadata.py). The facts
 * below are what its `flags` and `data` say, written down by hand.
 */
const golden = JSON.parse(await Deno.readTextFile(new URL("../tests/golden/files/metadata.json", import.meta.url)));

const plain = {
  colorAug: false,
  flipAug: false,
  randomCrop: false,
  shuffleCaption: false,
  keepTokens: 0,
  isReg: false,
};
const tags = (counts: Record<string, number>) => new Map(Object.entries(counts));

/** Without caption files the folder's class tokens are the caption. */
const train1: readonly SubsetFacts[] = [
  { ...plain, name: "2_other set", images: 2, repeats: 2, classTokens: "other set", tags: tags({ "other set": 2 }) },
  { ...plain, name: "4_sks dog", images: 3, repeats: 4, classTokens: "sks dog", tags: tags({ "sks dog": 3 }) },
];
const train2: readonly SubsetFacts[] = [
  { ...plain, name: "3_hanfu", images: 2, repeats: 3, classTokens: "hanfu", tags: tags({ hanfu: 2 }) },
];

type Size = readonly [width: number, height: number, count: number];
const sizes = (...all: Size[]) => all.map(([width, height, count]) => ({ width, height, count }));

/** One square bucket: each of five pictures, and of two, once, with its own |1 − aspect ratio| rounded as there. */
const square = (subsets: readonly SubsetFacts[], count: number, meanAspectError: number): DatasetFacts => ({
  batchSize: 1,
  trainImages: count,
  regImages: 0,
  resolution: [64, 64],
  buckets: { noUpscale: false, limits: [64, 64], sizes: sizes([64, 64, count]), meanAspectError },
  subsets,
});

const training: TrainingFacts = {
  learningRate: 2e-6,
  textEncoderLearningRate: null,
  unetLearningRate: null,
  batchesPerEpoch: 16,
  epochs: 7,
  steps: 100,
  gradientCheckpointing: false,
  accumulationSteps: 1,
  warmupSteps: 0,
  schedule: "constant",
  mixedPrecision: "no",
  clipSkip: null,
  maxTokenLength: null,
  cachesLatents: false,
  seed: 42,
  isLowMemory: false,
  noiseOffset: null,
  multiresNoiseIterations: null,
  multiresNoiseDiscount: 0.3,
  minSnrGamma: null,
  optimizer: "torch.optim.adamw.AdamW",
  maxGradNorm: 1,
  priorLossWeight: 1,
};
const base: ModelFacts = {
  name: "base.safetensors",
  legacy: "41a8df8d",
  sha256: "456c8113cfad810521b71d94e21f1e40cc2226c9c63f09293b65d66e55167d21",
};
const other: ModelFacts = {
  name: "other.ckpt",
  legacy: "e3b0c442",
  sha256: "9a76b8af8f16f19d60de2b3999c22f9d10be4395c90ea3bfc5eb6cd6254243af",
};
const captions = { dropoutRate: 0, dropoutEveryNEpochs: 0, tagDropoutRate: 0, faceCropRange: null };

type Change = Omit<Partial<KohyaFacts>, "training"> & { readonly training?: Partial<TrainingFacts> };

/** The plain run's facts with some changed; rank and alpha at the original's defaults. */
function facts(change: Change = {}): KohyaFacts {
  return {
    sessionId: 1234567890,
    network: { rank: 64, alpha: 64, arguments: null },
    captions,
    datasets: [square(train1, 16, 0.6)],
    hasDatasetConfig: false,
    base,
    vae: null,
    ...change,
    training: { ...training, ...change.training },
  };
}

/** Network 2 of a run: its own data and base. */
const second = (change: Change & { readonly training?: Partial<TrainingFacts> } = {}): KohyaFacts =>
  facts({
    datasets: [square(train2, 6, 0.25)],
    base: other,
    ...change,
    training: { batchesPerEpoch: 6, ...change.training },
  });

const withoutBuckets = (dataset: DatasetFacts): DatasetFacts => ({
  ...dataset,
  buckets: null,
  subsets: dataset.subsets.map((subset) => ({ ...subset, randomCrop: true })),
});
const cropped: Change = {
  captions: { ...captions, faceCropRange: [2, 4] },
  training: { epochs: 3, steps: 48 },
};

const notEnlarged = (dataset: DatasetFacts, ...found: Size[]): DatasetFacts => ({
  ...dataset,
  batchSize: 2,
  buckets: { noUpscale: true, limits: [32, 128], sizes: sizes(...found), meanAspectError: 0 },
});
const sgd = { optimizer: "torch.optim.sgd.SGD(momentum=0.9)", epochs: 13 };

const rich = { flipAug: true, shuffleCaption: true, keepTokens: 1 };
/** Of the caption files, in the order in which tags are seen: 日本 and café, then sks dog, … */
const richTrain1: readonly SubsetFacts[] = [
  { ...train1[0], ...rich, tags: tags({ "日本": 1, "café": 1, "other set": 1 }) },
  { ...train1[1], ...rich, tags: tags({ "sks dog": 3, grass: 2, running: 1, ball: 1 }) },
  {
    ...plain,
    ...rich,
    name: "1_dog",
    images: 2,
    repeats: 1,
    isReg: true,
    classTokens: "dog",
    tags: tags({ dog: 2, park: 1 }),
  },
];
const richBuckets = (found: readonly Size[], meanAspectError: number): DatasetFacts["buckets"] => ({
  noUpscale: false,
  limits: [32, 128],
  sizes: sizes(...found),
  meanAspectError,
});
const richTraining: Partial<TrainingFacts> = {
  learningRate: 1e-4,
  textEncoderLearningRate: 5e-5,
  unetLearningRate: 1e-4,
  epochs: 13,
  gradientCheckpointing: true,
  accumulationSteps: 2,
  warmupSteps: 10,
  schedule: "cosine_with_restarts",
  mixedPrecision: "fp16",
  clipSkip: 2,
  maxTokenLength: 225,
  cachesLatents: true,
  isLowMemory: true,
  noiseOffset: 0.05,
  optimizer: "torch.optim.adamw.AdamW(weight_decay=0.01,betas=(0.9, 0.99))",
  maxGradNorm: 0.5,
  priorLossWeight: 0.75,
};
const richRun: Change = {
  captions: { ...captions, dropoutRate: 0.05, dropoutEveryNEpochs: 3, tagDropoutRate: 0.1 },
  vae: {
    name: "vae.pt",
    legacy: "e3b0c442",
    sha256: "e9cbcb3ccfee357449a0e90d3bdaa2060ebac70f7ddbfe1c82dfa5ba332d0d66",
  },
};
const convolutions = new Map([["conv_dim", "4"], ["conv_alpha", "1"]]);

/** Each run's facts for network 1 and network 2. */
const runs: Readonly<Record<string, readonly [one: KohyaFacts, two: KohyaFacts]>> = {
  plain: [facts(), second()],
  no_buckets: [
    facts({ ...cropped, datasets: [withoutBuckets(square(train1, 16, 0))] }),
    second({ ...cropped, datasets: [withoutBuckets(square(train2, 6, 0))] }),
  ],
  no_upscale: [
    facts({
      datasets: [notEnlarged(square(train1, 16, 0), [32, 96, 2], [48, 72, 4], [64, 64, 4], [80, 40, 6])],
      training: { ...sgd, batchesPerEpoch: 8 },
    }),
    second({
      datasets: [notEnlarged(square(train2, 6, 0), [40, 80, 3], [64, 64, 3])],
      training: { ...sgd, batchesPerEpoch: 4 },
    }),
  ],
  rich: [
    facts({
      ...richRun,
      network: { rank: 16, alpha: new PythonFloat(8), arguments: convolutions },
      datasets: [{
        ...square(richTrain1, 16, 0),
        batchSize: 2,
        regImages: 2,
        buckets: richBuckets(
          [[32, 104, 2], [48, 80, 4], [64, 64, 12], [80, 48, 8], [88, 40, 6]],
          0.09413919413919418,
        ),
      }],
      training: richTraining,
    }),
    second({
      ...richRun,
      network: { rank: 32, alpha: new PythonFloat(4), arguments: convolutions },
      datasets: [{
        ...square([{ ...train2[0], ...rich, tags: tags({ hanfu: 2, red: 1, blue: 1 }) }], 6, 0),
        batchSize: 2,
        buckets: richBuckets([[40, 88, 3], [64, 64, 3]], 0.022727272727272735),
      }],
      training: { ...richTraining, batchesPerEpoch: 4 },
    }),
  ],
};

/** What the file says besides, and what the golden's generator put in its place. */
function whole(given: KohyaFacts): Record<string, string> {
  const saved = savedMetadata(kohyaMetadata(given), {
    outputName: "mine",
    comment: given.vae ? 'a "quoted" comment, é' : null,
    startedAt: 1700000000.123456,
    finishedAt: 1700000100.5,
    steps: 100,
    epoch: 7,
  });
  const { ss_training_finished_at, ss_steps, ss_epoch, ss_base_model_version, ss_sd_scripts_commit_hash, ...rest } =
    Object.fromEntries(saved);
  // The golden's programs stop before they save; the version of the base is of later releases.
  deepEqual([ss_training_finished_at, ss_steps, ss_epoch, ss_base_model_version], [
    "1700000100.5",
    "100",
    "7",
    "sd_v1",
  ]);
  // What sd-scripts writes where git fails.
  equal(ss_sd_scripts_commit_hash, "(unknown)");
  return { ...rest, ss_sd_scripts_commit_hash: "0123456789abcdef0123456789abcdef01234567" };
}

for (const [name, [one, two]] of Object.entries(runs)) {
  Deno.test(`kohyaMetadata() says of the ${name} run what sd-scripts says`, () => {
    const { metadata, minimum } = golden.runs[name].sd_scripts_0_6_4;
    // sd-scripts has no rank of its own where none is given, and alpha 1.
    const network = name === "rich" ? one.network : { rank: null, alpha: 1, arguments: null };
    deepEqual(whole({ ...one, network }), metadata);
    deepEqual(Object.fromEntries(minimumMetadata(kohyaMetadata({ ...one, network }))), minimum);
  });

  Deno.test(`kohyaMetadata() says of both networks of the ${name} run what is theirs`, () => {
    const { network_1, network_2 } = golden.runs[name].dual;
    // The original is older than these keys.
    const known = (metadata: Record<string, string>) => {
      const { ss_multires_noise_iterations: _1, ss_multires_noise_discount: _2, ss_min_snr_gamma: _3, ...rest } =
        metadata;
      return rest;
    };
    deepEqual(known(whole(one)), network_1);
    // What network 2 has of network 1 there, by `dual_faults`, and what it lacks.
    const own = {
      ss_network_alpha: name === "rich" ? "4.0" : "64",
      ss_dataset_dirs: '{"3_hanfu": {"n_repeats": 3, "img_count": 2}}',
      ss_reg_dataset_dirs: "{}",
      ...(name === "rich"
        ? { ss_vae_name: "vae.pt", ss_vae_hash: "e3b0c442", ss_new_vae_hash: network_1.ss_new_vae_hash }
        : {}),
    };
    deepEqual(known(whole(two)), { ...network_2, ...own });
  });
}

Deno.test("kohyaMetadata() tells data sets of a file one by one, as sd-scripts does", () => {
  const dogs = { ...plain, name: "4_sks dog", images: 3 };
  const written = { grass: 2, running: 1, ball: 1 };
  const buckets = (found: readonly Size[], meanAspectError: number) => richBuckets(found, meanAspectError);
  const given = facts({
    network: { rank: null, alpha: 1, arguments: null },
    hasDatasetConfig: true,
    datasets: [
      {
        batchSize: 2,
        trainImages: 9,
        regImages: 2,
        resolution: [64, 64],
        buckets: buckets([[48, 80, 3], [64, 64, 8], [80, 48, 4], [88, 40, 3]], 0.08666666666666671),
        subsets: [
          {
            ...dogs,
            repeats: 3,
            classTokens: "sks dog",
            shuffleCaption: true,
            tags: tags({ "sks dog": 3, ...written }),
          },
          {
            ...plain,
            name: "1_dog",
            images: 2,
            repeats: 1,
            isReg: true,
            classTokens: null,
            tags: tags({ dog: 1, park: 1 }),
          },
        ],
      },
      {
        batchSize: 2,
        trainImages: 3,
        regImages: 0,
        resolution: [96, 64],
        buckets: buckets([[64, 96, 1], [72, 72, 1], [104, 56, 1]], 0.047619047619047596),
        subsets: [{ ...dogs, repeats: 1, classTokens: null, keepTokens: 2, tags: tags({ "sks dog": 2, ...written }) }],
      },
    ],
    training: { batchesPerEpoch: 13, epochs: 8 },
  });
  deepEqual(whole(given), golden.dataset_config_run.sd_scripts_0_6_4.metadata);
});
