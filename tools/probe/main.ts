/**
 * Computes one part of the port on given inputs, for anyone who checks it against another implementation:
 * `deno task probe <part> --model <folder> --input in.safetensors --output out.safetensors`.
 *
 * Exit code 2 where the command has to be changed or the machine has no adapter, 1 where the inputs do not fit.
 *
 * @module
 */
import { Command, CommanderError, InvalidArgumentError } from "@commander-js/extra-typings";
import { existsSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { readPlainText } from "../../formats/plain_file.ts";
import { Device, type FloatFormat, NoAdapterError } from "../../engine/mod.ts";
import { UsageError } from "../../cli/usage_error.ts";
import { nearestName } from "../../steps/values/nearest_name.ts";
import { readOptions } from "./options.ts";
import { parts } from "./parts.ts";
import { readTensorSet, writeTensorSet } from "./tensors.ts";
import { probeTokenize } from "./tokenize.ts";

interface Flags {
  readonly part: string;
  readonly model?: string;
  readonly weights?: number;
  readonly precision: FloatFormat;
  readonly options?: string;
  readonly input: string;
  readonly output: string;
}

/** Runs a command line; errors are thrown. */
export async function probe(args: readonly string[]): Promise<void> {
  const command = new Command("probe")
    .description("Computes one part of the port on given inputs and writes the results under the goldens' names.")
    .argument("<part>", `one of ${partNames().join(", ")}`)
    .option("--model <folder>", "Diffusers folder; with weights by rule its config.json files alone count")
    .option("--weights <rule:salt>", "weights by rule in place of the folder's, such as rule:0", saltOf)
    .option(
      "--precision <precision>",
      "f32, f16 or bf16: what frozen weights are stored in",
      precisionOf,
      "f32" as const,
    )
    .option("--options <file>", "JSON of settings, or a golden's own JSON")
    .option("--input <file>", "safetensors file, a golden's as it is; JSON for tokenize")
    .option("--output <file>", "safetensors file to write; JSON for tokenize")
    .exitOverride()
    .action(async (part, flags) => {
      if (!partNames().includes(part)) {
        throw new UsageError(
          `Unknown part ${part}. Did you mean ${nearestName(part, partNames())}? Parts are ${partNames().join(", ")}`,
        );
      }
      // Commander would miss them before it looks for mistyped flags.
      const { input, output } = flags;
      if (input === undefined) throw new UsageError("The flag --input <file> is missing");
      if (output === undefined) throw new UsageError("The flag --output <file> is missing");
      for (const [flag, path] of Object.entries({ model: flags.model, options: flags.options, input })) {
        if (path !== undefined && !existsSync(path)) {
          throw new UsageError(`Cannot read --${flag} ${path}: it is not there`);
        }
      }
      await (part === "tokenize" ? tokenize : compute)({ ...flags, part, input, output });
    });
  await command.parseAsync([...args], { from: "user" });
}

function partNames(): string[] {
  return [...Object.keys(parts), "tokenize"];
}

async function compute(flags: Flags): Promise<void> {
  const part = parts[flags.part], { precision, weights: salt = null } = flags;
  const folder = part.needsModel ? folderOf(flags) : "";
  const json = flags.options === undefined ? {} : await readJson(flags.options);
  const options = readOptions(flags.part, part.golden?.(json) ?? json, part.options);
  const input = await readTensorSet(flags.input);
  if (part.runOnHost) return await writeTensorSet(flags.output, part.runOnHost({ options, input }));
  using device = await Device.open();
  await writeTensorSet(flags.output, await part.run!({ device, folder, salt, precision, options, input }));
}

async function tokenize(flags: Flags): Promise<void> {
  if (flags.options !== undefined) readOptions("tokenize", await readJson(flags.options), []);
  const found = await probeTokenize(folderOf(flags), await readJson(flags.input));
  await writeFile(flags.output, JSON.stringify(found) + "\n");
}

function folderOf({ part, model }: Flags): string {
  if (model === undefined) throw new UsageError(`${part} needs --model <folder>`);
  return model;
}

function saltOf(text: string): number {
  const digits = text.match(/^rule:(\d+)$/)?.[1];
  if (digits === undefined) throw new InvalidArgumentError("It must be rule:<salt>, such as rule:0.");
  return Number(digits);
}

function precisionOf(text: string): FloatFormat {
  if (text !== "f32" && text !== "f16" && text !== "bf16") {
    throw new InvalidArgumentError("It must be f32, f16 or bf16.");
  }
  return text;
}

async function readJson(file: string): Promise<unknown> {
  const text = await readPlainText(file);
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new SyntaxError(`Cannot read ${file}: not JSON: ${(error as Error).message}`, { cause: error });
  }
}

if (import.meta.main) {
  try {
    await probe(Deno.args);
  } catch (error) {
    // Commander has printed its own already; asking for help is no error.
    if (error instanceof CommanderError) Deno.exit(error.exitCode === 0 ? 0 : 2);
    console.error((error as Error).message);
    Deno.exit(error instanceof UsageError || error instanceof NoAdapterError ? 2 : 1);
  }
}
