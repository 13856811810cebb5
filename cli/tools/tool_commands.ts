import { Command, InvalidArgumentError, Option } from "@commander-js/extra-typings";
import { convertLora, loraLayouts } from "../../steps/lora_tools/convert.ts";
import { extractLora } from "../../steps/lora_tools/extract.ts";
import { mergeLoras, mergeLorasIntoBase } from "../../steps/lora_tools/merge.ts";
import { inspectionText, inspectLora } from "../../steps/lora_tools/inspect.ts";
import { rankRules, resizeLora } from "../../steps/lora_tools/resize.ts";
import { UsageError } from "../usage_error.ts";
import { answering } from "./answering.ts";
import { measureCommand } from "./measure_command.ts";

/** The commands that read and write LoRA files without training: see docs/lora_tools.md. */
export function toolCommands(): Command[] {
  return [inspectCommand(), measureCommand(), convertCommand(), mergeCommand(), resizeCommand(), extractCommand()].map((
    command,
  ) => command as unknown as Command);
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
        console.log(`${output}: ${done.modules} modules, names changed from ${done.from} to ${done.to}`);
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

function resizeCommand() {
  return new Command("resize").description("give a LoRA file smaller ranks, by singular values")
    .requiredOption("--model <file>", "LoRA file")
    .requiredOption("--save_to <file>", "file to write")
    .option("--new_rank <rank>", "new rank; with a dynamic method the most it may be", numberOf, 4)
    .option("--new_conv_rank <rank>", "of convolutions, 1x1 too; --new_rank when left out", numberOf)
    .addOption(
      new Option("--dynamic_method <rule>", "choose each module's rank by its singular values").choices(rankRules),
    )
    .option("--dynamic_param <number>", "the rule's target", numberOf)
    .addOption(
      new Option("--save_precision <precision>", "numbers in the file").choices(precisions).default("float" as const),
    )
    .option("--verbose", "print what is left of each module")
    .action((
      {
        model,
        save_to: output,
        new_rank: rank,
        new_conv_rank: convRank,
        dynamic_method: by,
        dynamic_param: target,
        save_precision: precision,
        verbose,
      },
    ) =>
      answering(async () => {
        if ((by === undefined) !== (target === undefined)) {
          throw new UsageError("--dynamic_method and --dynamic_param go together: give both or neither");
        }
        const rule = by === undefined ? {} : { rule: { by, target: target! } };
        const options = { rank, precision, ...rule, ...(convRank === undefined ? {} : { convRank }) };
        const percent = (share: number) => `${(100 * share).toFixed(1)} %`;
        const resized = await resizeLora(model, output, options, ({ module, normKept, sumKept }, done, total) => {
          const { name, alpha, down: { shape: [rank] } } = module;
          if (verbose) {
            console.log(
              `${done}/${total} ${name}: rank ${rank}, alpha ${alpha}, norm kept ${percent(normKept)}, sum ${
                percent(sumKept)
              }`,
            );
          }
        });
        const mean = resized.reduce((sum, { normKept }) => sum + normKept, 0) / resized.length;
        console.log(`${output}: ${resized.length} modules, ${percent(mean)} of their norms kept on average`);
      })
    );
}

function extractCommand() {
  return new Command("extract").description("the difference of two base models as a LoRA file")
    .requiredOption("--model_org <base>", "what was trained from: a folder, a file, or toy")
    .requiredOption("--model_tuned <base>", "what came of it")
    .requiredOption("--save_to <file>", "file to write")
    .option("--dim <rank>", "rank", numberOf, 4)
    .option("--conv_dim <rank>", "rank of 3x3 convolutions; without it they are left out", numberOf)
    .option(
      "--clamp_quantile <share>",
      "cuts the factors off at this quantile; 1 leaves them as they are",
      numberOf,
      0.99,
    )
    .option("--min_diff <number>", "the text encoder is left out where no weight differs by more", numberOf, 0.01)
    .option("--config <folder>", "folder whose configurations bases in one file are read with")
    .addOption(
      new Option("--save_precision <precision>", "numbers in the file").choices(precisions).default("float" as const),
    )
    .action((given) =>
      answering(async () => {
        const { model_org: original, model_tuned: tuned, save_to: output, dim: rank, conv_dim: convRank, config } =
          given;
        const { clamp_quantile: clampQuantile, min_diff: minDiff, save_precision: precision } = given;
        const options = { rank, clampQuantile, minDiff, precision };
        const more = { ...(convRank === undefined ? {} : { convRank }), ...(config === undefined ? {} : { config }) };
        const { modules, equal, hasTextEncoder } = await extractLora(
          original,
          tuned,
          output,
          { ...options, ...more },
          (name, done, total) => {
            if (done % 20 === 0) console.error(`${done} of ${total} layers, ${name}`);
          },
        );
        console.log(`${output}: ${modules} modules${equal ? `; ${equal} layers are equal in both` : ""}`);
        if (!hasTextEncoder) {
          console.log(
            `Note: the text encoders differ by no more than ${minDiff} (--min_diff), so the UNet alone is in it`,
          );
        }
      })
    );
}

function numberOf(text: string): number {
  const number = Number(text);
  if (text.trim() !== "" && Number.isFinite(number)) return number;
  throw new InvalidArgumentError("It must be a number.");
}
