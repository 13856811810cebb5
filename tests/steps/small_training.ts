/**
 * A training so small that a test can run it: some of the toy's pictures at 64 or 128 pixels, a few steps.
 *
 * @module
 */
import { cp, mkdir, readdir } from "node:fs/promises";
import { join } from "node:path";
import * as d from "../../mod.ts";

/** A temporary folder that is gone after the test. */
export async function inNewFolder(test: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "dualora-steps-" });
  try {
    await test(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Copies a data folder's first pictures and their captions into `<folder>/1_<class>`: an epoch shows each once. */
export async function copyPictures(from: string, folder: string, count: number): Promise<string> {
  const [subfolder] = await readdir(from);
  const to = join(folder, subfolder.replace(/^\d+_/, "1_"));
  await mkdir(to, { recursive: true });
  const names = (await readdir(join(from, subfolder))).sort();
  for (const name of names.filter((name) => name.endsWith(".png")).slice(0, count)) {
    for (const each of [name, name.replace(".png", ".txt")]) await cp(join(from, subfolder, each), join(to, each));
  }
  return folder;
}

/** Two pictures for each network. */
export async function smallData(folder: string): Promise<Pick<d.ReadDreamboothOptions, "network1" | "network2">> {
  return {
    network1: { train: await copyPictures(d.toy.character, join(folder, "character"), 2) },
    network2: { train: await copyPictures(d.toy.outfit, join(folder, "outfit"), 2) },
  };
}

/** Runs a recipe and keeps what happened: steps that ran, all events, and the error if there was one. */
export async function runRecorded<Kept extends string = never>(
  recipe: { run(options: d.RunOptions<Kept>): Promise<d.RunResult<unknown>> },
  options: d.RunOptions<Kept>,
): Promise<{ ran: string[]; events: d.RunEvent[]; error: Error | null }> {
  const events: d.RunEvent[] = [];
  const onEvent = (event: d.RunEvent) => {
    events.push(event);
    options.onEvent?.(event);
  };
  const error = await recipe.run({ ...options, onEvent }).then(() => null, (error) => error as Error);
  const ran = events.flatMap((event) => event.type === "step-finished" ? [event.step] : []);
  return { ran, events, error };
}

/** A network as a step kept it in the run folder. */
export async function keptNetwork(runFolder: string, step: string, name: string): Promise<d.Network> {
  const steps = join(runFolder, "steps"), folder = (await readdir(steps)).find((each) => each.slice(3) === step);
  if (folder === undefined) throw new Error(`${steps} has no ${step}`);
  const loaded = await d.networkStore(name).load(join(steps, folder, "product"));
  return loaded[name];
}
