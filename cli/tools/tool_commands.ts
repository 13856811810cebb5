import { Command, InvalidArgumentError, Option } from "@commander-js/extra-typings";
import { convertLora, loraLayouts } from "../../steps/lora_tools/convert.ts";
import { mergeLoras, mergeLorasIntoBase } from "../../steps/lora_tools/merge.ts";
import { inspectionText, inspectLora } from "../../steps/lora_tools/inspect.ts";
import { UsageError } from "../usage_error.ts";

/** The commands that read and write LoRA files without training: see docs/lora_tools.md. */
export function toolCommands(): Command[] {
  return [inspectCommand(), convertCommand(), mergeCommand()].map((command) => command as unknown as Command);
}

function inspectCommand() {
  return new Command("inspect").description("metadata, ranks and strength of a LoRA file")
    .argument("<file>", "LoRA file in kohya's format")
    .option("--json", "print all of it as JSON")
    .action((file, { json }) =>
      answering(async () => {
        const found = await inspectLora(file);
        console.log(json ? JSON.stringify(found, null, 2) : inspectionText(found));
      })
    );
}

function convertCommand() {
  return new Command("convert").description("rename the tensors of a LoRA file: kohya's names, or diffusers'")
    .argument("<file>", "LoRA file in either layout")
    .argument("<output>", "file to write")
    .addOption(new Option("--to <layout>", "layout to write; the other one when left out").choices(loraLayouts))
    .addOption(
      new Option("--alpha <way>", "on the way to diffusers: fold it into the weights, or keep it as a tensor")
        .choices(["fold", "keep"] as const).default("fold" as const),
    )
    .action((file, output, { to, alpha }) =>
      answering(async () => {
        const done = await convertLora(file, output, { alpha, ...(to === undefined ? {} : { to }) });
        console.log(`${output}: ${done.modules} modules, from ${done.from}'s names to ${done.to}'s`);
        if (done.rounded.length === 0) return;
        console.log(
          `Note: folding alpha in has rounded the weights of ${done.rounded.length} modules, such as ${
            done.rounded[0]
          }; --alpha keep leaves them as they are`,
        );
      })
    );
}

/** sd-scripts' names of the precisions of files. */
const precisions = ["float", "fp16", "bf16"] as const;

function mergeCommand() {
  return new Command("merge").description("merge LoRA files with each other, or into a base model")
    .requiredOption("--models <files...>", "LoRA files")
    .option(
      "--ratios <numbers...>",
      "strength of each; 1 each when left out",
      (text, before: number[] = []) => [...before, numberOf(text)],
    )
    .requiredOption("--save_to <path>", "what to write; for a base in a folder a new folder")
    .option("--sd_model <base>", "base model to merge into: a folder, a file, or toy")
    .option("--config <folder>", "folder whose configurations a base in one file is read with")
    .option("--concat", "LoRA with LoRA: exact, the ranks add up")
    .addOption(
      new Option("--save_precision <precision>", "numbers in the file; float, for a base its own").choices(precisions),
    )
    .action((
      {
        models,
        ratios = models.map(() => 1),
        save_to: output,
        sd_model: base,
        config,
        concat,
        save_precision: precision,
      },
    ) =>
      answering(async () => {
        if (ratios.length !== models.length) {
          throw new UsageError(
            `--ratios has ${ratios.length} numbers, --models ${models.length} files; one for each is needed`,
          );
        }
        const loras = models.map((file, i) => ({ file, ratio: ratios[i] }));
        const options = precision === undefined ? {} : { precision };
        if (base === undefined) {
          if (config !== undefined) throw new UsageError("--config is for a base model: name one with --sd_model");
          const count = await mergeLoras(loras, output, { ...options, concat: concat === true });
          return console.log(`${output}: ${count} modules of ${models.length} files`);
        }
        if (concat) throw new UsageError("--concat is for LoRA with LoRA: leave it out, or --sd_model");
        await mergeLorasIntoBase(base, loras, output, { ...options, ...(config === undefined ? {} : { config }) });
        console.log(`${output}: ${base} with ${models.length} LoRA files`);
      })
    );
}

function numberOf(text: string): number {
  const number = Number(text);
  if (text.trim() !== "" && Number.isFinite(number)) return number;
  throw new InvalidArgumentError("It must be a number.");
}

/** Runs a tool; whatever it refuses is for the user to change. */
async function answering(body: () => Promise<void>): Promise<void> {
  try {
    await body();
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    throw new UsageError(error.message, { cause: error });
  }
}
