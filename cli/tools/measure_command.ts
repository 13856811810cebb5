import { Command, Option } from "@commander-js/extra-typings";
import { descriptionText, startedHere } from "../../pipeline/mod.ts";
import { measureLoras, measurementText } from "../../steps/lora_tools/measure.ts";
import { checkNewFile, writeNewFile } from "../../steps/outputs/new_file.ts";
import { interferenceHtml } from "../../steps/report/interference_html.ts";
import { readRunLogs } from "../../steps/report/run_logs.ts";
import { toy } from "../../steps/values/toy.ts";
import { runRecipe } from "../run_recipe.ts";
import { UsageError } from "../usage_error.ts";
import { wholeNumber } from "../whole_number.ts";
import { answering } from "./answering.ts";
import { measureRecipe, type MeasureRecipeOptions } from "./measure_recipe.ts";

/** The command that measures how two LoRA files interfere: see docs/measure.md. */
export function measureCommand() {
  const command = makeCommand();
  return command.action((file, other, flags) =>
    answering(async () => {
      if (flags.base === undefined) return await measureWeights(file, other, flags);
      const options = recipeOptions([file, other], flags.base, flags), recipe = measureRecipe(options);
      // Logs that cannot be read are told before anything is computed.
      if (options.logs !== undefined) await readRunLogs(options.logs);
      // Memory and time, before anything is computed.
      console.log(descriptionText(await recipe.describe()));
      if (flags.describe) return;
      const { output_dir } = flags, record = { started: startedHere({ output_dir }), inputs: [] };
      await runRecipe(recipe, { folder: `${output_dir}/run`, args: [], record });
    })
  );
}

function makeCommand() {
  return new Command("measure").description("how two LoRA files interfere: by their weights, and in a base")
    .argument("<file>", "LoRA file in kohya's format")
    .argument("<other>", "LoRA file for the same base")
    .option("--json <file>", "write all of it as JSON; with --base it is in --output_dir")
    .option("--html <file>", "write a page with heat maps; with --base it is in --output_dir")
    .option("--run <folder>", "folder of a run or its logs, whose curves the page shows")
    .option("--base <base>", "also measure in this base model: toy, a folder, a file, or a model on the hub")
    .option("--config <folder>", "folder whose configurations a base in one file is read with")
    .option("--vae <vae>", "VAE in the place of the base's own")
    .option("--data <folder>", "pictures that LoRA 1 is about: folders <repeats>_<class>")
    .option("--data_2 <folder>", "pictures that LoRA 2 is about")
    .option("--prompt <text>", "asks for LoRA 1's concept alone")
    .option("--prompt_2 <text>", "asks for LoRA 2's concept alone")
    .option("--prompt_stack <text>", "asks for both; the two prompts joined when left out")
    .option("--regions <file>", "cells that the concepts decide, for retention: see docs/measure.md")
    .option("--resolution <pixels>", "side of the pictures, a multiple of 64; 512, with toy 128")
    .option("--pictures <count>", "pictures of each column, and most of --data; 4")
    .option("--steps <count>", "steps of the sampler (ddim); 20")
    .option("--guidance <scale>", "7.5, with toy 3")
    .addOption(
      new Option("--mixed_precision <format>", "what the base is kept in").choices(["no", "fp16", "bf16"] as const)
        .default("no" as const),
    )
    .option(
      "--f16_arithmetic",
      "multiply in f16 what --mixed_precision=fp16 keeps in it: faster on many cards, less exact",
    )
    .option(
      "--output_dir <folder>",
      "receives the report of --base, and what a stopped run goes on from",
      "out/measure",
    )
    .option("--describe", "say what --base will take, and run nothing");
}

type Flags = ReturnType<ReturnType<typeof makeCommand>["opts"]>;

async function measureWeights(file: string, other: string, flags: Flags): Promise<void> {
  const { json, html, run } = flags, names = Object.keys(flags) as (keyof Flags)[];
  const known = ["json", "html", "run", "mixed_precision", "output_dir"];
  const idle = names.find((name) => !known.includes(name));
  if (idle !== undefined) throw new UsageError(`--${idle} needs --base: by weights alone it decides nothing`);
  for (const output of [json, html]) if (output !== undefined) await checkNewFile(output, "the measurement");
  if (json !== undefined && json === html) throw new UsageError(`--json and --html both name ${json}`);
  const training = run === undefined ? {} : { training: await readRunLogs(run) };
  const found = {
    ...await measureLoras(file, other, (name, done, total) => {
      if (done % 50 === 0) console.error(`${done} of ${total} modules, ${name}`);
    }),
    ...training,
  };
  if (json !== undefined) await writeNewFile(json, "the measurement", `${JSON.stringify(found, null, 2)}\n`);
  if (html !== undefined) await writeNewFile(html, "the measurement", await interferenceHtml(found));
  console.log(measurementText(found));
}

/** What the demo asks of the avatars. */
const avatars = {
  data: [toy.character, toy.outfit] as const,
  prompts: {
    one: "pixel art portrait of sks person, red clothes, {row} background",
    two: "pixel art portrait of a person, zkz clothes, {row} background",
    stack: "pixel art portrait of sks person, zkz clothes, {row} background",
  },
  rows: ["white", "pink", "sky blue", "beige"],
};

/**
 * The measurement that a command line asks for. With the base `toy` and nothing else it is that of the demo's character and outfit.
 *
 * @throws {UsageError} If flags do not fit each other.
 */
export function recipeOptions(files: readonly [string, string], base: string, flags: Flags): MeasureRecipeOptions {
  for (const name of ["json", "html"] as const) {
    if (flags[name] !== undefined) {
      throw new UsageError(`--${name} is for weights alone: with --base everything is written into --output_dir`);
    }
  }
  const both = (one: "data" | "prompt", two: "data_2" | "prompt_2") => {
    const [first, second] = [flags[one], flags[two]];
    if (first !== undefined && second !== undefined) return [first, second] as const;
    if (first === undefined && second === undefined) return undefined;
    const [given, missing] = first === undefined ? [two, one] : [one, two];
    throw new UsageError(`--${given} is given, so --${missing} must be as well`);
  };
  const isToy = base === "toy", given = both("data", "data_2"), asked = both("prompt", "prompt_2");
  const isDemo = isToy && given === undefined && asked === undefined;
  const data = given ?? (isDemo ? avatars.data : undefined);
  if (data === undefined && asked === undefined) {
    throw new UsageError(
      "--base needs something to measure on: pictures of both LoRAs' concepts with --data and --data_2, or --prompt and --prompt_2",
    );
  }
  if (asked === undefined && flags.prompt_stack !== undefined) {
    throw new UsageError("--prompt_stack is given, so --prompt and --prompt_2 must be as well");
  }
  const [one, two] = asked ?? [];
  const prompts = asked
    ? { one: one!, two: two!, stack: flags.prompt_stack ?? `${one}, ${two}` }
    : isDemo
    ? avatars.prompts
    : undefined;
  const regions = flags.regions ?? (isDemo ? toy.regions : undefined);
  if (regions !== undefined && prompts === undefined) {
    throw new UsageError("--regions is read off pictures: give --prompt, --prompt_2 and --prompt_stack as well");
  }
  const pictures = wholeNumber("pictures", flags.pictures ?? "4"),
    guidance = Number(flags.guidance ?? (isToy ? 3 : 7.5));
  if (!Number.isFinite(guidance)) throw new UsageError(`--guidance is ${flags.guidance}, must be a number`);
  return {
    ...{ files, base, mixedPrecision: flags.mixed_precision, folder: flags.output_dir, most: pictures },
    ...flags.f16_arithmetic ? { f16Arithmetic: true } : {},
    ...flags.config === undefined ? {} : { config: flags.config },
    ...flags.vae === undefined ? {} : { vae: flags.vae },
    ...data === undefined ? {} : { data },
    ...prompts === undefined ? {} : { prompts },
    ...regions === undefined ? {} : { regions },
    ...flags.run === undefined ? {} : { logs: flags.run },
    resolution: wholeNumber("resolution", flags.resolution ?? (isToy ? "128" : "512")),
    rows: Array.from({ length: pictures }, (_, i) => ({ text: avatars.rows[i % avatars.rows.length], seed: i + 1 })),
    sampler: { steps: wholeNumber("steps", flags.steps ?? "20"), guidance },
  };
}
