import { deepEqual, equal, throws } from "node:assert/strict";
import { comparisonOptions } from "../../cli/compare.ts";
import type { ComparisonOptions } from "../../steps/comparison/variant.ts";

const avatars: ComparisonOptions = {
  ...{
    folder: "out/compare",
    bases: { network1: "toy" },
    resolution: 128,
    batchSize: 4,
    heldOut: 0.2,
    regions: "r.json",
  },
  ...{ network1: { train: "a" }, network2: { train: "b" }, training: { rank: 16 }, seeds: [1, 2, 3] },
  pictures: { width: 128, height: 128, rows: [{ text: "white", seed: 1 }] },
  prompts: { network1: "one", network2: "two", stack: "both" },
  variants: [{ name: "sequential" }, { name: "all hooks" }, { name: "joint", training: "both" }],
};

const own = [
  ...["--pretrained_model_name_or_path", "sd15", "--train_data_dir", "one", "--train_data_dir_2", "two"],
  ...["--reg_data_dir", "people", "--prompt", "sks", "--prompt_2", "zkz", "--prompt_stack", "sks zkz"],
];

Deno.test("without flags the avatars are compared as they are; seeds and variants can be chosen, the baseline always stays", () => {
  deepEqual(comparisonOptions(avatars, []), avatars);
  const chosen = comparisonOptions(avatars, ["--seeds", "4-6", "--variants", "joint", "--output_dir", "x"]);
  deepEqual(chosen, {
    ...avatars,
    folder: "x",
    seeds: [4, 5, 6],
    variants: [avatars.variants[0], avatars.variants[2]],
  });
  deepEqual(comparisonOptions(avatars, ["--seeds", "7,2"]).seeds, [7, 2]);
});

Deno.test("a script's own flags go with all others", () => {
  const flags = { "--quick": "only show that everything runs" };
  deepEqual(comparisonOptions(avatars, ["--quick"], flags), avatars);
  equal(comparisonOptions(avatars, [...own, "--quick"], flags).resolution, 512);
});

Deno.test("flags name a base and data of one's own: sd-scripts' names and defaults, no regions", () => {
  const { regions, variants, ...options } = comparisonOptions(avatars, [...own, "--mixed_precision", "fp16"]);
  equal(regions, undefined);
  deepEqual(variants, avatars.variants);
  deepEqual(options, {
    // Never that of the avatars.
    ...{ folder: "out/compare-own", seeds: [1, 2, 3], resolution: 512, batchSize: 1, heldOut: 0.1 },
    bases: { network1: "sd15", mixedPrecision: "fp16" },
    network1: { train: "one", reg: "people" },
    network2: { train: "two" },
    training: { rank: 16, alpha: 16, learningRate: 1e-4, steps: 1000 },
    pictures: { width: 512, height: 512, rows: [1, 2, 3, 4].map((seed) => ({ text: "", seed })) },
    prompts: { network1: "sks", network2: "zkz", stack: "sks zkz" },
  });
  const sized = comparisonOptions(avatars, [
    ...[...own, "--resolution", "256", "--train_batch_size", "2", "--network_dim", "8"],
    ...["--learning_rate", "2e-3", "--max_train_steps", "40"],
  ]);
  deepEqual([sized.resolution, sized.pictures.width, sized.batchSize], [256, 256, 2]);
  deepEqual(sized.training, { rank: 8, alpha: 8, learningRate: 2e-3, steps: 40 });
  equal(comparisonOptions(avatars, [...own, "--output_dir=x"]).folder, "x");
  equal(comparisonOptions({ ...avatars, folder: "out/quick" }, own).folder, "out/quick-own");
  deepEqual(comparisonOptions(avatars, [...own, "--enable_bucket"]).buckets, { enableBucket: true });
  const bucketed = comparisonOptions(avatars, [
    ...[...own, "--enable_bucket", "--min_bucket_reso=128", "--max_bucket_reso=768", "--bucket_reso_steps=32"],
    "--bucket_no_upscale",
  ]);
  deepEqual(bucketed.buckets, {
    ...{ enableBucket: true, minBucketReso: 128, maxBucketReso: 768, bucketResoSteps: 32, bucketNoUpscale: true },
  });
});

Deno.test("a wrong command line is told with the flag, what it is and what it must be", () => {
  const refuses = (args: readonly string[], message: RegExp) => throws(() => comparisonOptions(avatars, args), message);
  refuses(["--seeds", "5-1"], /^UsageError: --seeds is "5-1", must be a list such as 1,2,5 or a range such as 1-5$/);
  refuses(
    ["--variants", "other"],
    /^UsageError: --variants has "other", which is none of: sequential, all hooks, joint$/,
  );
  refuses(["--prompt", "x"], /^UsageError: --prompt needs --pretrained_model_name_or_path/);
  refuses(own.slice(0, 4), /so --train_data_dir_2, --prompt, --prompt_2, --prompt_stack must be as well$/);
  refuses([...own, "--resolution", "big"], /^UsageError: --resolution is "big", must be a whole number above 0$/);
  refuses([...own, "--resolution", "100"], /^UsageError: --resolution is "100", must be a multiple of 8$/);
  refuses([...own, "--bucket_no_upscale"], /^UsageError: --bucket_no_upscale needs --enable_bucket$/);
  refuses([...own, "--learning_rate", "0"], /^UsageError: --learning_rate is "0", must be a number above 0$/);
  refuses([...own, "--mixed_precision", "fp8"], /^UsageError: --mixed_precision is "fp8", must be no, fp16 or bf16$/);
});
