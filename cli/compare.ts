import { Command, CommanderError, Option } from "@commander-js/extra-typings";
import { comparison } from "../steps/comparison/comparison.ts";
import type { BucketOptions, ComparisonOptions } from "../steps/comparison/variant.ts";
import { seedList } from "./seed_list.ts";
import { runRecipe } from "./run_recipe.ts";
import { UsageError } from "./usage_error.ts";
import { wholeNumber } from "./whole_number.ts";

/** Rows of pictures of a person's own data: the same prompt with so many seeds. */
const ownRows = 4;

function makeCommand(name: string) {
  return new Command(name).exitOverride().description(
    "Compares ways to train two LoRA networks that are to be stacked. Without a base it compares them on the avatars that come with the project. " +
      "Tables and plots are of what is asked for; those of other seeds or variants that lie in the folder are moved into earlier-results-<number>/ there.",
  )
    .option("--seeds <list>", "seeds, such as 1-5 or 1,2,7")
    .option("--variants <names>", "names of variants, by commas; the baseline is always done")
    .option(
      "--output_dir <folder>",
      "what the comparison makes; run again with it, and the comparison goes on; with a base of your own out/compare-own when left out",
    )
    .option("--pretrained_model_name_or_path <path>", "your own base: a folder, a file, or a model on the hub")
    .option("--train_data_dir <folder>", "pictures of network 1: folders <repeats>_<class>")
    .option("--train_data_dir_2 <folder>", "pictures of network 2")
    .option("--reg_data_dir <folder>", "regularization pictures of network 1")
    .option("--reg_data_dir_2 <folder>", "regularization pictures of network 2")
    .option("--prompt <text>", "asks for network 1's concept alone")
    .option("--prompt_2 <text>", "asks for network 2's concept alone")
    .option("--prompt_stack <text>", "asks for both")
    .option("--resolution <pixels>", "side of the pictures, a multiple of 8; 512 with a base of your own")
    .option("--enable_bucket", "keep pictures near their own shape; without it all are cut to a square")
    .option("--min_bucket_reso <pixels>", "smallest side of a bucket; 256 when left out")
    .option("--max_bucket_reso <pixels>", "largest side of a bucket; 1024 when left out")
    .option("--bucket_reso_steps <pixels>", "sides of buckets are multiples of this; 64 when left out")
    .option("--bucket_no_upscale", "make buckets that fit the pictures, and never enlarge one")
    .option("--train_batch_size <count>", "pictures in a batch; 1 with a base of your own")
    .option("--network_dim <rank>", "rank of both networks, and their alpha")
    .option("--learning_rate <rate>", "of both networks; 1e-4 with a base of your own")
    .option("--max_train_steps <steps>", "steps of each network; 1000 with a base of your own")
    .option("--mixed_precision <format>", "no, fp16 or bf16: what frozen weights and activations are kept in")
    .option("--describe", "say what is there and what each variant will do, and run nothing")
    .option("--stack", "print where an error came from");
}

type Flags = ReturnType<ReturnType<typeof makeCommand>["opts"]>;

/** Flags that a person's own data need. */
const needed = ["train_data_dir", "train_data_dir_2", "prompt", "prompt_2", "prompt_stack"] as const;

/** Flags that decide something with `--enable_bucket` alone. */
const bucketNames = ["min_bucket_reso", "max_bucket_reso", "bucket_reso_steps", "bucket_no_upscale"] as const;

/** A comparison on a person's own base and data: the avatars' variants, everything else by flags. */
function ownComparison(flags: Flags, { variants, seeds, folder }: ComparisonOptions): ComparisonOptions {
  const missing = needed.filter((name) => flags[name] === undefined);
  if (missing.length > 0) {
    throw new UsageError(
      `--pretrained_model_name_or_path is given, so ${missing.map((name) => `--${name}`).join(", ")} must be as well`,
    );
  }
  const number = (name: "resolution" | "train_batch_size" | "network_dim" | "max_train_steps", fallback: number) =>
    flags[name] === undefined ? fallback : wholeNumber(name, flags[name]);
  const idle = flags.enable_bucket ? undefined : bucketNames.find((name) => flags[name] !== undefined);
  if (idle !== undefined) throw new UsageError(`--${idle} needs --enable_bucket`);
  const learningRate = Number(flags.learning_rate ?? "1e-4"), { mixed_precision: precision = "no" } = flags;
  if (!(learningRate > 0)) {
    throw new UsageError(`--learning_rate is ${JSON.stringify(flags.learning_rate)}, must be a number above 0`);
  }
  if (precision !== "no" && precision !== "fp16" && precision !== "bf16") {
    throw new UsageError(`--mixed_precision is ${JSON.stringify(precision)}, must be no, fp16 or bf16`);
  }
  const rank = number("network_dim", 16), resolution = number("resolution", 512);
  if (resolution % 8 !== 0) throw new UsageError(`--resolution is "${resolution}", must be a multiple of 8`);
  const data = (train: string, reg: string | undefined) => ({ train, ...(reg === undefined ? {} : { reg }) });
  return {
    ...{ folder, variants, seeds, resolution, batchSize: number("train_batch_size", 1), heldOut: 0.1 },
    ...(flags.enable_bucket ? { buckets: bucketsOf(flags) } : {}),
    bases: { network1: flags.pretrained_model_name_or_path!, mixedPrecision: precision },
    network1: data(flags.train_data_dir!, flags.reg_data_dir),
    network2: data(flags.train_data_dir_2!, flags.reg_data_dir_2),
    training: { rank, alpha: rank, learningRate, steps: number("max_train_steps", 1000) },
    pictures: {
      ...{ width: resolution, height: resolution },
      rows: Array.from({ length: ownRows }, (_, i) => ({ text: "", seed: i + 1 })),
    },
    prompts: { network1: flags.prompt!, network2: flags.prompt_2!, stack: flags.prompt_stack! },
  };
}

/** How pictures are sorted into sizes; what is left out stands at sd-scripts' defaults. */
function bucketsOf(flags: Flags): BucketOptions {
  const { min_bucket_reso: least, max_bucket_reso: most, bucket_reso_steps: step } = flags;
  return {
    enableBucket: true,
    ...least === undefined ? {} : { minBucketReso: wholeNumber("min_bucket_reso", least) },
    ...most === undefined ? {} : { maxBucketReso: wholeNumber("max_bucket_reso", most) },
    ...step === undefined ? {} : { bucketResoSteps: wholeNumber("bucket_reso_steps", step) },
    ...flags.bucket_no_upscale ? { bucketNoUpscale: true } : {},
  };
}

/** Flags that a script looks up by itself, each with a sentence for `--help`. */
type OwnFlags = { readonly [flag: string]: string };

/**
 * The comparison that a command line asks for.
 *
 * @param avatars What is compared without a base of one's own.
 * @param own Flags that decided what `avatars` is.
 * @throws {UsageError} If the user has to change the command line.
 * @throws {CommanderError} After commander has printed help or an error.
 */
export function comparisonOptions(
  avatars: ComparisonOptions,
  args: readonly string[],
  own: OwnFlags = {},
): ComparisonOptions {
  const command = makeCommand("compare"),
    ownOptions = Object.entries(own).map(([flag, does]) => new Option(flag, does));
  for (const option of ownOptions) command.addOption(option);
  command.parse([...args], { from: "user" });
  const flags = command.opts(), [baseline, ...others] = avatars.variants;
  let chosen = others;
  if (flags.variants !== undefined) {
    const names = flags.variants.split(",").map((name) => name.trim());
    const unknown = names.find((name) => !avatars.variants.some((variant) => variant.name === name));
    if (unknown !== undefined) {
      throw new UsageError(
        `--variants has ${JSON.stringify(unknown)}, which is none of: ${
          avatars.variants.map(({ name }) => name).join(", ")
        }`,
      );
    }
    chosen = others.filter(({ name }) => names.includes(name));
  }
  const options: ComparisonOptions = {
    ...avatars,
    folder: flags.output_dir ?? avatars.folder,
    seeds: flags.seeds === undefined ? avatars.seeds : seedList(flags.seeds, "--seeds"),
    variants: [baseline, ...chosen],
  };
  if (flags.pretrained_model_name_or_path !== undefined) {
    return ownComparison(flags, { ...options, folder: flags.output_dir ?? `${avatars.folder}-own` });
  }
  const free = ["seeds", "variants", "output_dir", "describe", "stack"];
  free.push(...ownOptions.map((option) => option.attributeName()));
  const given = Object.keys(flags).filter((name) => !free.includes(name));
  if (given.length > 0) {
    throw new UsageError(
      `--${given[0]} needs --pretrained_model_name_or_path: on the avatars everything else is fixed`,
    );
  }
  return options;
}

/**
 * A script's last line: compares variants in the terminal, on the avatars or on what the command line names. Ends as `runRecipe` does; with exit code 2 where the
 * command line has to be changed.
 *
 * @param options.args The script's arguments; the process's own when left out.
 * @param options.flags What the script looks up in its arguments by itself, as `runRecipe` takes it.
 */
export async function runComparison(
  avatars: ComparisonOptions,
  { args = Deno.args, flags = {} }: { readonly args?: readonly string[]; readonly flags?: OwnFlags } = {},
): Promise<void> {
  let compared: ReturnType<typeof comparison>;
  try {
    compared = comparison(comparisonOptions(avatars, args, flags));
  } catch (error) {
    // Commander has printed its own; asking for help is no error.
    if (error instanceof CommanderError) Deno.exit(error.exitCode === 0 ? 0 : 2);
    if (!(error instanceof UsageError)) throw error;
    console.error(error.message);
    Deno.exit(2);
  }
  const onCell = (text: string) => console.log(text);
  // The others are read.
  const shared = args.filter((word) => word === "--describe" || word === "--stack");
  await runRecipe({ describe: compared.describe, run: (run) => compared.run({ ...run, onCell }) }, { args: shared });
}
