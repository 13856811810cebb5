import { cancel, type CANCEL_SYMBOL, intro, outro, select, text } from "@clack/prompts";
import { Command } from "@commander-js/extra-typings";
import { existsSync, statSync } from "node:fs";
import type { Readable, Writable } from "node:stream";
import { UsageError } from "../usage_error.ts";
import { type Answers, writeAnswers } from "./answers.ts";

/** Where questions are asked: a terminal. */
export interface Terminal {
  readonly input?: Readable;
  readonly output?: Writable;
}

/** Asks what is to be trained, and writes a recipe or a settings file. */
export async function askAndWrite(terminal: Terminal = {}): Promise<void> {
  intro("A new training", terminal);
  const answers = await ask(terminal);
  const command = await writeAnswers(answers);
  outro(`${answers.path} is written. It runs with\n\n   ${command}`, terminal);
}

/** The command that asks what is to be trained. */
export function newCommand(): Command {
  return new Command("new").summary("ask a few questions, and write a recipe or a file of settings").description(
    "Asks about a training, and writes what runs it: a recipe, a TypeScript script to which steps can be added, or settings, a TOML file for deno task train.\n\n" +
      "The questions: two networks or one; base model; folders with pictures and the ending of their caption files; size of the pictures; steps; rank; " +
      "where the LoRA files go. Each has an answer to begin with. Nothing is trained, and no file is written over.",
  ).addHelpText(
    "after",
    "\nIt needs a terminal, and writes into the folder that you are in. Without one,\ndeno task train takes flags or a file of them.",
  ).action(startNew);
}

/** @throws {UsageError} If nobody is there to answer. */
async function startNew(): Promise<void> {
  if (!Deno.stdin.isTerminal() || !Deno.stdout.isTerminal()) {
    throw new UsageError(
      "deno task new asks questions and needs a terminal; without one, deno task train takes flags (--help lists them) or a file of them (--config_file)",
    );
  }
  await askAndWrite();
}

async function ask(terminal: Terminal): Promise<Answers> {
  const line = async (message: string, initialValue: string, check: (value: string) => string | undefined) => {
    const validate = (value = "") => check(value.trim());
    return answered(await text({ ...terminal, message, initialValue, validate }), terminal).trim();
  };
  const choose = async <Value extends string>(message: string, choices: Readonly<Record<Value, string>>) => {
    const options = Object.entries<string>(choices).map(([value, label]) => ({ value, label }));
    return answered(await select<string>({ ...terminal, message, options }), terminal) as Value;
  };

  const isPair = await choose("What do you train?", {
    two: "two networks that keep apart, such as a character and an outfit",
    one: "one network",
  }) === "two";
  const base = await line(
    "Base model: a folder or file of Stable Diffusion 1.x, or toy, the small model that comes along",
    "toy",
    checkBase,
  );
  const whose = isPair ? "network 1, the one that is there first, such as the character" : "the network";
  const folders = "a folder of folders <repeats>_<class>, such as 10_sks person";
  const pictures = await line(`Pictures of ${whose}: ${folders}`, "", checkFolder);
  const pair = isPair
    ? {
      pictures2: await line("Pictures of network 2, such as the outfit: a folder like the first", "", checkFolder),
      order: await choose("In which order?", {
        first: "network 1 first; then it is frozen, and network 2 learns around it (recommended)",
        together: "both side by side",
      }),
    }
    : {};
  const captions = await line("Ending of the caption files beside the pictures", ".txt", checkEnding);
  const resolution = Number(await line("Size of the pictures in pixels", base === "toy" ? "128" : "512", checkSize));
  const steps = Number(await line("Steps of each training", "1000", checkCount));
  const rank = Number(await line("Rank of the networks", "16", checkCount));
  const output = await line("Folder for the LoRA files", "out/training", checkText);
  const name = await line("Name of the first file", "lora", checkName);
  const kind = await choose("What shall be written?", {
    recipe: "a recipe: a TypeScript script, to which steps can be added",
    settings: "settings: a TOML file for deno task train",
  });
  const ending = kind === "settings" ? ".toml" : ".ts", file = kind === "settings" ? "training.toml" : "recipe.ts";
  const path = await line("File", file, (value) => checkNewFile(value, ending));
  return { base, pictures, ...pair, captions, resolution, steps, rank, output, name, kind, path };
}

/** @throws {UsageError} If the question was cancelled. */
function answered(answer: string | typeof CANCEL_SYMBOL, terminal: Terminal): string {
  if (typeof answer !== "string") {
    cancel("Nothing is written", terminal);
    throw new UsageError("The questions were not answered to the end");
  }
  return answer;
}

function checkText(value: string): string | undefined {
  return value === "" ? "It must not be empty" : undefined;
}

function checkBase(value: string): string | undefined {
  if (value === "toy") return undefined;
  return checkText(value) ?? (existsSync(value) ? undefined : `${value} is not there`);
}

function checkFolder(value: string): string | undefined {
  if (value === "") return "It must not be empty";
  if (!existsSync(value)) return `${value} is not there`;
  return statSync(value).isDirectory() ? undefined : `${value} is no folder`;
}

function checkEnding(value: string): string | undefined {
  return /^\.\w+$/.test(value) ? undefined : "It must be a dot and letters, such as .txt";
}

function checkSize(value: string): string | undefined {
  const size = Number(value);
  return Number.isInteger(size) && size >= 64 ? undefined : "It must be a whole number from 64 on, such as 512";
}

function checkCount(value: string): string | undefined {
  return /^[1-9]\d*$/.test(value) ? undefined : "It must be a whole number above 0";
}

function checkName(value: string): string | undefined {
  return /^[\w.-]+$/.test(value) ? undefined : "Use letters, digits, _, - and .";
}

function checkNewFile(value: string, ending: string): string | undefined {
  if (!value.endsWith(ending)) return `It must end in ${ending}`;
  if (Deno.permissions.querySync({ name: "write", path: value }).state !== "granted") {
    return "It must be in the folder that you are in: nowhere else may this program write";
  }
  return existsSync(value) ? `${value} is there already` : undefined;
}
