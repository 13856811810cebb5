import { deepEqual, equal } from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { Dataset } from "../../data/dataset.ts";
import { datasetSettings, type Subset, subsetSettings } from "../../data/subset.ts";
import type { SubsetDefaults } from "../../data/dataset_options.ts";
import { dataFacts, networkFacts, optimizerText, rateFacts } from "../../steps/outputs/network_facts.ts";
import { ownTrainingOptions } from "../../cli/recipe/training_options.ts";
import { kohyaMetadata } from "../../formats/kohya_metadata.ts";
import { PythonFloat, pythonStr } from "../../formats/python_text.ts";
import { optimizerByName, optimizerNames } from "../../training/optimizers/optimizers.ts";
import { settingsOfLine } from "../cli/parse_line.ts";

/** The metadata of stated runs, by sd-scripts' own statements, and the pictures that they were made with. */
const golden = JSON.parse(
  await readFile(new URL("../golden/files/metadata.json", import.meta.url), "utf8"),
);

type Row = readonly [file: string, width: number, height: number, caption: string | null];

/** The golden's folders as they are read without caption files: class tokens are the captions. */
function datasetOf(folder: string, buckets: boolean, defaults: SubsetDefaults): Dataset {
  const folders = Object.entries<Row[]>(golden.data[folder]).filter(([name]) => /^\d+_/.test(name)).sort();
  const subsets = folders.map(([name, rows]): Subset => {
    const [, repeats, classTokens] = /^(\d+)_(.*)$/.exec(name)!, path = `/${folder}/${name}`;
    return {
      path,
      kind: "folder",
      settings: subsetSettings({ numRepeats: Number(repeats), classTokens }, defaults, name),
      images: rows.map(([file, width, height]) => {
        return { path: `${path}/${file}`, caption: classTokens, countedTags: classTokens, size: { width, height } };
      }),
    };
  });
  const options = { enableBucket: buckets, minBucketReso: 64, maxBucketReso: 64, resolution: 64 };
  return new Dataset([{ settings: datasetSettings(options, folder), subsets }], { name: folder, seed: 1 });
}

for (
  const [run, buckets, defaults] of [
    ["plain", true, {}],
    ["no_buckets", false, { randomCrop: true, faceCropAugRange: [2, 4] }],
  ] as const
) {
  Deno.test(`what a data set is made of comes to sd-scripts' metadata of the ${run} run`, () => {
    for (const [number, folder] of [[1, "DATA/train_1"], [2, "DATA/train_2"]] as const) {
      const dataset = datasetOf(folder, buckets, defaults);
      const { priorLossWeight, ...facts } = dataFacts(dataset);
      const metadata = kohyaMetadata({
        ...facts,
        ...{ sessionId: 1, network: networkFacts({ rank: 64 }), base: null, vae: null },
        training: {
          ...{ learningRate: 2e-6, textEncoderLearningRate: null, unetLearningRate: null },
          ...{ batchesPerEpoch: dataset.batchesPerEpoch, epochs: 7, steps: 100, accumulationSteps: 1, warmupSteps: 0 },
          ...{ gradientCheckpointing: false, cachesLatents: false, isLowMemory: false, schedule: "constant" },
          ...{ mixedPrecision: "no", clipSkip: null, maxTokenLength: null, seed: 42, noiseOffset: null },
          ...{ multiresNoiseIterations: null, multiresNoiseDiscount: 0.3 },
          ...{ minSnrGamma: null, optimizer: "", maxGradNorm: 1, priorLossWeight },
        },
      });
      const wanted = golden.runs[run].dual[`network_${number}`];
      // Network 2 has network 1's folders there.
      if (number === 2) wanted.ss_dataset_dirs = '{"3_hanfu": {"n_repeats": 3, "img_count": 2}}';
      const keys = [...metadata.keys()].filter((key) =>
        /^ss_(num_(train|reg|batches)|batch|total|resolution|color|flip|random|shuffle|enable|bucket|(min|max)_bucket|keep|dataset|reg|tag|caption|face|prior)/
          .test(key)
      );
      equal(keys.length, 24);
      for (const key of keys) equal(metadata.get(key), wanted[key], `${key} of network ${number}`);
    }
  });
}

Deno.test("every optimizer has sd-scripts' name in metadata, with its arguments, and AdaFactor's own rates are no rates", async () => {
  const { flags, cases } = JSON.parse(
    await readFile(new URL("../golden/files/optimizer_names.json", import.meta.url), "utf8"),
  );
  const names = new Set<string>();
  for (const { type, args, ss_optimizer, ...wanted } of cases) {
    // As the command line makes options of the flags.
    const { values } = await settingsOfLine([
      `--optimizer_type=${type}`,
      ...args.length ? ["--optimizer_args", ...args] : [],
    ]);
    const { optimizer = "AdamW", optimizerArguments } = ownTrainingOptions(values, 1), what = `${type} ${args}`;
    equal(optimizerText(optimizer, optimizerArguments), ss_optimizer, what);
    const found = rateFacts({
      optimizer,
      ...(optimizerArguments ? { optimizerArguments } : {}),
      learningRate: flags.learning_rate,
      textEncoderLearningRate: flags.text_encoder_lr,
      unetLearningRate: flags.unet_lr,
    });
    const text = (rate: number | null) => pythonStr(rate === null ? null : new PythonFloat(rate));
    deepEqual(
      {
        ss_learning_rate: text(found.learningRate),
        ss_unet_lr: text(found.unetLearningRate),
        ss_text_encoder_lr: text(found.textEncoderLearningRate),
        ss_lr_scheduler: found.schedule,
      },
      wanted,
      what,
    );
    names.add(optimizerByName(optimizer).name);
  }
  deepEqual([...names].sort(), [...optimizerNames].sort());
});

Deno.test("networkFacts() has --network_args under sd-scripts' names", () => {
  const given = networkFacts({ rank: 16, alpha: 8, convRank: 4, convAlpha: 1, blocks: { downWeights: [1, 0.5] } });
  deepEqual([...given.arguments!], [["conv_dim", "4"], ["conv_alpha", "1"], ["down_lr_weight", "1,0.5"]]);
  equal(networkFacts({ rank: 16 }).arguments, null);
});
