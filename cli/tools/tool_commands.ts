import { Command } from "@commander-js/extra-typings";
import { inspectionText, inspectLora } from "../../steps/lora_tools/inspect.ts";
import { UsageError } from "../usage_error.ts";

/** The commands that read and write LoRA files without training: see docs/lora_tools.md. */
export function toolCommands(): Command[] {
  return [inspectCommand()].map((command) => command as unknown as Command);
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

/** Runs a tool; whatever it refuses is for the user to change. */
async function answering(body: () => Promise<void>): Promise<void> {
  try {
    await body();
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    throw new UsageError(error.message, { cause: error });
  }
}
