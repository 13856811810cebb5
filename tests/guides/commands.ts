import { ok } from "node:assert/strict";
import { cp, mkdir, readdir } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { runCommandLine } from "../../cli/main.ts";
import * as d from "../../mod.ts";
import { copyPictures } from "../steps/small_training.ts";
import type { BlockMark } from "./blocks.ts";

/** What the guides' commands are about: a few pictures in each folder. */
export async function prepare(folder: string): Promise<void> {
  const { character, outfit, priors } = d.toy, demo = "assets/toy/demo";
  for (const [from, to] of [[character, `${demo}/character`], [outfit, `${demo}/outfit`], [priors, "data/people"]]) {
    await copyPictures(from, join(folder, to), 2);
  }
  for (const [from, to] of [[character, "character"], [outfit, "outfit"], [outfit, "style"]]) {
    await copyPictures(from, join(folder, "data", to), 10);
  }
  // Folders as the guides name them.
  for (const [to, name] of [["character", "10_sks person"], ["outfit", "10_zkz clothes"]]) {
    const [found] = await readdir(join(folder, "data", to));
    await cp(join(folder, "data", to, found), join(folder, "data", to, name), { recursive: true });
    await Deno.remove(join(folder, "data", to, found), { recursive: true });
  }
  await mkdir(join(folder, "loras"));
}

/** The small base stands for SD v1.5, which the project does not bring. */
export const standIn = (text: string) => text.replaceAll("models/sd15.safetensors", "toy");

/** Words of this program's command line; a training or a sweep is planned, unless the guide says with what it is run. */
export function programWords(words: readonly string[], { runWith }: BlockMark = {}): string[] {
  const [first, second, ...rest] = words;
  const given = first === "dualora" ? words.slice(1) : first === "deno" && second === "task" ? rest : null;
  ok(given !== null && (first === "dualora" || ["train", "sweep"].includes(given[0])), `what is ${words.join(" ")}?`);
  const isLong = given[0] === "train" || (given[0] === "sweep" && given[1] !== "gather");
  if (!isLong || given.includes("--describe") || given.includes("--print_recipe")) return given;
  return [...given, ...runWith ?? ["--describe"]];
}

/** Runs a command in this process, in a folder; gives what it prints. */
export async function run(words: readonly string[], folder: string): Promise<string> {
  const before = process.cwd(), { log, error } = console, printed: string[] = [];
  console.log = console.error = (...texts: unknown[]) => void printed.push(texts.join(" "));
  process.chdir(folder);
  try {
    await runCommandLine(words);
  } finally {
    process.chdir(before);
    Object.assign(console, { log, error });
  }
  return printed.join("\n");
}
