import { Command, Option } from "@commander-js/extra-typings";
import { convertLora, loraLayouts } from "../../steps/lora_tools/convert.ts";
import { inspectionText, inspectLora } from "../../steps/lora_tools/inspect.ts";
import { UsageError } from "../usage_error.ts";

/** The commands that read and write LoRA files without training: see docs/lora_tools.md. */
export function toolCommands(): Command[] {
  return [inspectCommand(), convertCommand()].map((command) => command as unknown as Command);
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

/** Runs a tool; whatever it refuses is for the user to change. */
async function answering(body: () => Promise<void>): Promise<void> {
  try {
    await body();
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    throw new UsageError(error.message, { cause: error });
  }
}
